"""Which part of an image is seen: at random in training, the centre in evaluation."""

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
    """A random rectangle of `area` (share of the image) and `ratio` (width / height); None where none fits.

    As TensorFlow's distorted bounding box, which the papers' code uses: the ratio is uniform, then the
    height among those that keep area and ratio inside the image, up to `attempts` times; the place is
    uniform (TensorFlow leaves the last row and column of places out). A box of the whole image counts
    as none, because the authors' code takes it for a failure and crops the centre.
    """
    least, most = area[0] * width * height, area[1] * width * height
    covered = _covered(area[0]) * width * height
    for _ in range(attempts):
        aspect = ratio[0] + (ratio[1] - ratio[0]) * rng.random()
        high = min(round(math.sqrt(most / aspect)), height, int((width + 0.499) / aspect))
        low = min(round(math.sqrt(least / aspect)), high)
        tall = low + int(rng.random() * (high - low + 1))
        tall += tall * round(tall * aspect) < least  # the sides are whole pixels: one more or less
        tall -= tall * round(tall * aspect) > most  # may bring the area back between its bounds
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
    """Share of the image below which a drawn box is thrown away.

    The authors ask for boxes of .08 and more that cover a tenth of the object, which is the whole image, so
    none below a tenth is ever seen. A recipe that asks for less than their .08 means it and gets it.
    """
    return 0.1 if least >= 0.08 else least


def centre_box(width: int, height: int, resolution: int, share: float = 0.875) -> Box:
    """The centre square whose side is about `share` of the shorter side (the authors' formula).

    They pad the target size by round(size x (1 / share - 1)) pixels; share 1 takes the whole shorter side.
    """
    padded = resolution + round(resolution * (1 / share - 1))
    side = max(1, min(width, height) * resolution // padded)
    return Box((width - side + 1) // 2, (height - side + 1) // 2, side, side)
