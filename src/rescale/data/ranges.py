"""The values that are black and white in images with more than 8 bits, chosen for a whole data set.

The file formats do not say which value is white: 12-bit sensors store 0..4095 in 16 bits, other programs
8-bit values in 32 bits or floats from 0 to 1. So a range is chosen by the largest values of a sample.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rescale.data.source import BadImage
from rescale.errors import plural
from rescale.preprocess import Ranges

KINDS = {"uint16": "16-bit", "int32": "32-bit", "float32": "floating-point"}  # of values, and in words
FULL = (0.0, 65535.0)  # of 16 bits: the range that Pillow assumes
UNMEASURED: Ranges = {"uint16": FULL, "int32": FULL, "float32": (0.0, 255.0)}
"""The ranges of versions that did not measure."""
TOLERANCE = 0.05  # share of the range by which values may leave it, as floats do after resampling
OUTLIERS = 0.01  # share of the pixels that may lie outside of the range, such as hot pixels
_ODD_IMAGES = 0.1  # share of the images that may lie outside of it
_ALMOST_BLACK = 1 / 16  # share of the range that an image does not exceed
_POWERS = 128.0  # the largest white of floats that is a power of two, if none are negative


class Extent(NamedTuple):
    """The smallest and the largest value."""

    low: float
    high: float

    @property
    def size(self) -> float:
        """The largest distance from 0."""
        return max(self.high, -self.low)


class Measured(NamedTuple):
    """The extent of an image's values, and of all but OUTLIERS of its pixels."""

    whole: Extent
    most: Extent


def measured(values: np.ndarray) -> Measured:
    """The extents of an image's values. Raises ValueError if some are no numbers."""
    whole = Extent(float(values.min()), float(values.max()))
    if not (math.isfinite(whole.low) and math.isfinite(whole.high)):
        raise ValueError("holds values that are infinite or no numbers")
    flat = values.ravel()
    left_out = int(OUTLIERS / 2 * flat.size)  # at each end
    ends = np.partition(flat, (left_out, flat.size - 1 - left_out))[[left_out, flat.size - 1 - left_out]]
    return Measured(whole, Extent(float(ends[0]), float(ends[1])))


def fitting(extent: Extent, kind: str) -> tuple[float, float]:
    """The values that become black and white: the smallest usual range that holds an extent.

    White is 1 or the largest number of 2, 4, 6, 8, ... bits; of floats up to 128, and of all with negative
    values, a power of two. So the largest value is at least a quarter of white. Black is 0, or minus white if
    there are negative values.
    """
    is_float = kind == "float32"
    tolerance = TOLERANCE if is_float else 0
    largest = extent.size / (1 + tolerance)
    white = _white(largest, _POWERS if is_float else 1)
    if extent.low >= -tolerance * white:
        return (0.0, white)
    white = _white(largest, math.inf if is_float else 1)
    return (-white, white)


def _white(largest: float, powers: float) -> float:
    """The smallest usual white of at least `largest`: a power of two, or above `powers` of full bits."""
    power = 2.0 ** math.ceil(math.log2(largest)) if largest > 1 else 1.0
    if power <= powers:
        return power
    bits = math.ceil(math.log2(largest + 1))
    return 2.0 ** (bits + bits % 2) - 1


def agreed(images: Sequence[Measured], kind: str) -> tuple[float, float]:
    """The range for all images of a data set, chosen on some of them; at least one.

    Odd images, a tenth at most, must not make the others almost black. So a few odd pixels of theirs do not
    count, and if the rest of their values asks for a white that is 16 times as large, this does not either:
    they leave the range and are reported when they are decoded.
    """
    odd = int(_ODD_IMAGES * len(images))
    darkest = sorted(images, key=lambda image: image.whole.low)
    brightest = sorted(images, key=lambda image: -image.whole.high)
    usual = Extent(
        min(image.whole.low for image in darkest[odd:]), max(image.whole.high for image in brightest[odd:])
    )
    every = Extent(
        min([usual.low, *(image.most.low for image in darkest[:odd])]),
        max([usual.high, *(image.most.high for image in brightest[:odd])]),
    )
    limits, of_all = fitting(usual, kind), fitting(every, kind)
    return of_all if of_all[1] * _ALMOST_BLACK < limits[1] else limits


def about(images: Sequence[Measured], kind: str, limits: tuple[float, float]) -> str:
    """One line about a measured range: its values, and the images of the sample that leave it."""
    inside = [image.whole for image in images if _holds(limits, image.whole)]
    outside = [image.whole for image in images if not _holds(limits, image.whole)]
    black, white = map(text, limits)
    line = (
        f"{KINDS[kind]}: {black} is black and {white} is white, since the values of {len(inside)} of them go"
    )
    low, high = min(extent.low for extent in inside), max(extent.high for extent in inside)
    line += f" from {text(low)} to {text(high)}"
    if outside:
        low, high = min(extent.low for extent in outside), max(extent.high for extent in outside)
        line += f"; {plural(len(outside), 'other')} from {text(low)} to {text(high)}: up to 1 % of an image's"
        line += " pixels are cut off, an image with more is reported as damaged"
    return f"{line}; --set white=VALUE of train and data show sets another"


def dark(images: Sequence[Measured], kind: str, limits: tuple[float, float]) -> str:
    """A warning about the images that come out almost black though they are not black; empty if none do."""
    black, white = limits
    blackened = [
        image.most
        for image in images
        if image.whole.low < image.whole.high and image.most.high - black < _ALMOST_BLACK * (white - black)
    ]
    if not blackened:
        return ""
    high = max(extent.high for extent in blackened)
    return (
        f"{KINDS[kind]}: {len(blackened)} of {plural(len(images), 'image')} looked at come out almost "
        f"black: their values do not exceed {text(high)}, and {text(white)} is white; --set white=VALUE "
        f"of train, eval and data show sets another"
    )


def chosen(extent: Extent, kind: str, ranges: Ranges, where: str) -> tuple[float, float]:
    """The range of a data set for an image; the full one for 16 bits that no smaller usual range holds.

    Raises:
        BadImage: the data set has no range for this kind, and the image could come out too dark.
    """
    if kind in ranges:
        return ranges[kind]
    own = fitting(extent, kind)
    if kind == "uint16" and own == FULL:
        return FULL
    raise BadImage(
        f"{where}: {KINDS[kind]} values from {text(extent.low)} to {text(extent.high)}, and none of the "
        f"images looked at tells which value is white; give it to train, eval or data show, as in "
        f"--set white={text(own[1])}"
    )


def text(value: float) -> str:
    """A value without rounding if it is a whole number."""
    return f"{value:.10g}" if value == int(value) else f"{value:g}"


def _holds(limits: tuple[float, float], extent: Extent) -> bool:
    margin = 1.001 * TOLERANCE * (limits[1] - limits[0])  # rounding must not decide
    return limits[0] - margin <= extent.low and extent.high <= limits[1] + margin
