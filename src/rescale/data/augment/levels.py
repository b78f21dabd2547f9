"""From an operation's name and level (0..10, and beyond) to what it does, as the authors' code maps them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rescale.data.augment import operations as op

SMALL = 160  # pixels: the smallest image the authors' constants were made for


@dataclass(frozen=True)
class Constants:
    """What the levels are relative to.

    translate: pixels at level 10. cutout: half side in pixels at level 10. quirks: solarize's threshold
    wraps at 256 and contrast's grey is the number of pixels, as in the authors' code.
    """

    translate: float
    cutout: float
    quirks: bool

    @classmethod
    def made_for(cls, resolution: int, small_images: str, translate: float, cutout: float) -> "Constants":
        """Below 160 pixels in proportion and without the quirks, unless `as-published`.

        Taken literally the published constants turn a third of small images wholly grey (two operations at
        level 10: 35 % at 8 and 32 pixels, 25 % at 64). In proportion an image of 32 pixels sees what one of
        160 does: .5 % grey, by the same translation twice. Level 15 is for larger ones: up to 160 pixels it
        leaves a tenth or less of every fourth image, in proportion as published. test_augment.py measures.
        """
        share = min(1.0, resolution / SMALL)
        if small_images == "as-published" or share == 1:
            return cls(translate, cutout, quirks=True)
        return cls(translate * share, cutout * share, quirks=False)


Operation = Callable[[np.ndarray, float, Constants, np.random.Generator], np.ndarray]


def apply(
    name: str, pixels: np.ndarray, level: float, constants: Constants, rng: np.random.Generator
) -> np.ndarray:
    """One operation at a level. Rotations, shears and translations draw a sign, cutout a place."""
    return OPERATIONS[name](pixels, level / 10, constants, rng)


def _factor(share: float) -> float:
    """How far colour, contrast, brightness and sharpness go: .1 at level 0, 1 at 5, 1.9 at 10."""
    return 0.1 + 1.8 * share


def _signed(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() < 0.5 else value


def _threshold(share: float, wraps: bool) -> int:
    """Solarize's; the authors' code compares it as uint8, so that 256 is 0 and inverts everything."""
    threshold = int(256 * share)
    return threshold % 256 if wraps else threshold


def _place(pixels: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(pixels.shape[1])), int(rng.integers(pixels.shape[0]))


OPERATIONS: dict[str, Operation] = {  # m: share of level 10
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
    "Cutout": lambda p, m, c, rng: op.cutout(p, int(c.cutout * m), _place(p, rng)),
    "SolarizeAdd": lambda p, m, c, rng: op.solarize_add(p, min(255, int(110 * m))),
}
NAMES = tuple(OPERATIONS)  # sixteen; a draw is a place in this order
