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
    for _ in range(attempts):
        aspect = rng.uniform(*ratio)
        low = round(math.sqrt(least / aspect))
        high = min(round(math.sqrt(most / aspect)), height, int((width + 0.499) / aspect))
        box_height = int(rng.integers(min(low, high), high + 1))
        box_width = round(box_height * aspect)
        fits = 0 < box_height <= height and 0 < box_width <= width
        if not fits or not least <= box_width * box_height <= most:
            continue
        if (box_width, box_height) == (width, height):
            return None
        left = int(rng.integers(0, width - box_width + 1))
        top = int(rng.integers(0, height - box_height + 1))
        return Box(left, top, box_width, box_height)
    return None


def centre_box(width: int, height: int, resolution: int, share: float = 0.875) -> Box:
    """The centre square whose side is about `share` of the shorter side (the authors' formula).

    They pad the target size by round(size x (1 / share - 1)) pixels; share 1 takes the whole shorter side.
    """
    padded = resolution + round(resolution * (1 / share - 1))
    side = max(1, min(width, height) * resolution // padded)
    return Box((width - side + 1) // 2, (height - side + 1) // 2, side, side)
