"""Crop boxes: random ones for training, the centre for evaluation."""

import math
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A rectangle in pixels: left, top, width, height."""

    left: int
    top: int
    width: int
    height: int


def random_box(
    width: int,
    height: int,
    rng: np.random.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    attempts: int = 10,
) -> Box | None:
    """Draw a random crop box like TensorFlow's sample_distorted_bounding_box, which the papers' code uses.

    The aspect ratio is uniform, then the height is uniform among those that keep area and ratio inside the
    image. The position is uniform (TensorFlow omits the last row and column of positions).

    Args:
        width, height: of the image, in pixels.
        rng: source of randomness.
        area: bounds of the area, as shares of the image in (0, 1].
        ratio: bounds of the aspect ratio, width / height.
        attempts: how many boxes to try.

    Returns:
        The box; None if no attempt fits, or if the box is the whole image: the authors' code treats that as
        a failure and crops the centre.
    """
    least, most = area[0] * width * height, area[1] * width * height
    covered = _covered(area[0]) * width * height
    for _ in range(attempts):
        aspect = ratio[0] + (ratio[1] - ratio[0]) * rng.random()
        high = min(round(math.sqrt(most / aspect)), height, int((width + 0.499) / aspect))
        low = min(round(math.sqrt(least / aspect)), high)
        tall = low + int(rng.random() * (high - low + 1))
        tall += tall * round(tall * aspect) < least  # sides are whole pixels; one more or less
        tall -= tall * round(tall * aspect) > most  # may bring the area back into its bounds
        wide = round(tall * aspect)
        fits = 0 < tall <= height and 0 < wide <= width
        if not fits or not max(least, covered) <= tall * wide <= most:
            continue
        if (wide, tall) == (width, height):
            return None
        left = int(rng.random() * (width - wide + 1))
        top = int(rng.random() * (height - tall + 1))
        return Box(left, top, wide, tall)
    return None


def _covered(least: float) -> float:
    """The share of the image below which a drawn box is rejected.

    The authors' code draws boxes of at least .08 that cover a tenth of the object, which is the whole image.
    So no box below a tenth is ever used. A recipe with a smaller bound than .08 gets that bound.
    """
    return 0.1 if least >= 0.08 else least


def centre_box(width: int, height: int, resolution: int, share: float = 0.875) -> Box:
    """The centre square whose side is about `share` of the shorter side (formula of the authors' code).

    It pads the target size by round(resolution x (1 / share - 1)) pixels. A share of 1 uses the whole shorter
    side.
    """
    padded = resolution + round(resolution * (1 / share - 1))
    side = max(1, min(width, height) * resolution // padded)
    return Box((width - side + 1) // 2, (height - side + 1) // 2, side, side)
