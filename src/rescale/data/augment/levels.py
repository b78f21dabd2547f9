"""Map an operation's name and level (0..10, and beyond) to its parameters, as in the authors' code."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rescale.data.augment import operations as op

SMALL = 160  # pixels: the smallest resolution the authors' constants were made for


@dataclass(frozen=True)
class Constants:
    """The constants that levels are relative to.

    Args:
        translate: translation in pixels at level 10.
        cutout: half the side in pixels at level 10.
        quirks: as in the authors' code, solarize's threshold wraps at 256 and contrast's grey level is
            derived from the number of pixels.
    """

    translate: float
    cutout: float
    quirks: bool

    @classmethod
    def for_resolution(
        cls, resolution: int, small_images: str, translate: float, cutout: float
    ) -> "Constants":
        """The constants for a resolution: below 160 pixels scaled and without quirks, unless `as-published`.

        Without scaling, the published constants turn a third of small images entirely grey (two operations
        at level 10: 35 % at 8 and 32 pixels, 25 % at 64). With scaling, an image of 32 pixels is affected as
        one of 160: .5 % are grey, by the same translation twice. Level 15 is meant for larger images: up to
        160 pixels it leaves at most a tenth of the content in every fourth image, scaled or as published.
        test_augment.py measures these shares.
        """
        share = min(1.0, resolution / SMALL)
        if small_images == "as-published" or share == 1:
            return cls(translate, cutout, quirks=True)
        return cls(translate * share, cutout * share, quirks=False)


Operation = Callable[[np.ndarray, float, Constants, np.random.Generator], np.ndarray]


def apply(
    name: str, pixels: np.ndarray, level: float, constants: Constants, rng: np.random.Generator
) -> np.ndarray:
    """Apply one operation at a level. Rotation, shear and translation draw a sign, cutout a position."""
    return OPERATIONS[name](pixels, level / 10, constants, rng)


def _factor(share: float) -> float:
    """Factor of colour, contrast, brightness and sharpness: .1 at level 0, 1 at 5, 1.9 at 10."""
    return 0.1 + 1.8 * share


def _signed(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() < 0.5 else value


def _threshold(share: float, wraps: bool) -> int:
    """Solarize's threshold. The authors' code casts it to uint8, so 256 becomes 0 and inverts everything."""
    threshold = int(256 * share)
    return threshold % 256 if wraps else threshold


def _position(pixels: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(pixels.shape[1])), int(rng.integers(pixels.shape[0]))


OPERATIONS: dict[str, Operation] = {  # m: level / 10
    "AutoContrast": lambda p, m, c, rng: op.auto_contrast(p),
    "Equalize": lambda p, m, c, rng: op.equalize(p),
    "Invert": lambda p, m, c, rng: op.invert(p),
    "Rotate": lambda p, m, c, rng: op.rotate(p, _signed(30 * m, rng)),
    "Posterize": lambda p, m, c, rng: op.posterize(p, int(4 * m)),
    "Solarize": lambda p, m, c, rng: op.solarize(p, _threshold(m, c.quirks)),
    "Color": lambda p, m, c, rng: op.color(p, _factor(m)),
    "Contrast": lambda p, m, c, rng: op.contrast(p, _factor(m), true_mean=not c.quirks),
    "Brightness": lambda p, m, c, rng: op.brightness(p, _factor(m)),
    "Sharpness": lambda p, m, c, rng: op.sharpness(p, _factor(m)),
    "ShearX": lambda p, m, c, rng: op.shear_x(p, _signed(0.3 * m, rng)),
    "ShearY": lambda p, m, c, rng: op.shear_y(p, _signed(0.3 * m, rng)),
    "TranslateX": lambda p, m, c, rng: op.translate_x(p, _signed(c.translate * m, rng)),
    "TranslateY": lambda p, m, c, rng: op.translate_y(p, _signed(c.translate * m, rng)),
    "Cutout": lambda p, m, c, rng: op.cutout(p, int(c.cutout * m), _position(p, rng)),
    "SolarizeAdd": lambda p, m, c, rng: op.solarize_add(p, min(255, int(110 * m))),
}
NAMES = tuple(OPERATIONS)  # sixteen; operations are drawn as indices into this tuple
