"""From an operation's name and level (0..10, and beyond) to what it does, as the authors' code maps them."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from rescale.data.augment import operations as op

NAMES = (
    "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color", "Contrast", "Brightness",
    "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY", "Cutout", "SolarizeAdd",
)  # fmt: skip
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

        Taken literally the published constants wipe out a quarter to a third of small images (measured
        by test_randaugment.py); in proportion an image of 32 pixels sees what one of 160 does.
        """
        share = min(1.0, resolution / SMALL)
        if small_images == "as-published" or share == 1:
            return cls(translate, cutout, quirks=True)
        return cls(translate * share, cutout * share, quirks=False)


def apply(
    name: str, image: Image.Image, level: float, constants: Constants, rng: np.random.Generator
) -> Image.Image:
    """One operation at a level. Rotations, shears and translations draw a sign, cutout a place."""
    share = level / 10
    match name:
        case "AutoContrast":
            return op.auto_contrast(image)
        case "Equalize":
            return op.equalize(image)
        case "Invert":
            return op.invert(image)
        case "Rotate":
            return op.rotate(image, _signed(30 * share, rng))
        case "Posterize":
            return op.posterize(image, int(4 * share))
        case "Solarize":
            threshold = int(256 * share)
            return op.solarize(image, threshold % 256 if constants.quirks else threshold)
        case "Color":
            return op.color(image, _factor(share))
        case "Contrast":
            return op.contrast(image, _factor(share), true_mean=not constants.quirks)
        case "Brightness":
            return op.brightness(image, _factor(share))
        case "Sharpness":
            return op.sharpness(image, _factor(share))
        case "ShearX":
            return op.shear_x(image, _signed(0.3 * share, rng))
        case "ShearY":
            return op.shear_y(image, _signed(0.3 * share, rng))
        case "TranslateX":
            return op.translate_x(image, _signed(constants.translate * share, rng))
        case "TranslateY":
            return op.translate_y(image, _signed(constants.translate * share, rng))
        case "Cutout":
            centre = (int(rng.integers(image.width)), int(rng.integers(image.height)))
            return op.cutout(image, int(constants.cutout * share), centre)
        case "SolarizeAdd":
            return op.solarize_add(image, int(110 * share))
    raise AssertionError(name)


def _factor(share: float) -> float:
    """How far colour, contrast, brightness and sharpness go: .1 at level 0, 1.9 at 10, never below 1 at 5 and up."""
    return 0.1 + 1.8 * share


def _signed(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() < 0.5 else value
