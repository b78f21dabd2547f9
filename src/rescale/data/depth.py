"""Images with more than 8 bits a channel: their values, the range of a data set, and scaling to 8 bits.

The file formats do not say which value is white: 12-bit sensors store 0..4095 in 16 bits, other programs
8-bit values in 32 bits or floats from 0 to 1. So a range is chosen for a whole data set by its largest value.
"""

import io
import math
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from rescale.data.source import BadImage

KINDS = {"uint16": "16-bit", "int32": "32-bit", "float32": "floating-point"}  # of values, and in words
FULL = (0.0, 65535.0)  # of 16 bits: the range that Pillow assumes
_TOLERANCE = 0.05  # share of the range by which floats may leave it, as after resampling
_OUTLIERS = 0.01  # share of the pixels that may lie outside of the range, such as hot pixels
_DARK = FULL[1] / 16  # an image below this would come out almost black in the full range
_NATIVE = "L" if sys.byteorder == "little" else "B"


class Extent(NamedTuple):
    """The smallest and the largest value."""

    low: float
    high: float


def kind_of(image: Image.Image) -> str:
    """The kind of the values of an opened image that has not been loaded; "" for 8 bits.

    Netpbm files declare their largest value, by which Pillow scales them, so they need no range.
    """
    if image.format == "PPM" and image.mode != "F":
        return ""
    if image.mode.startswith("I;16"):
        return "uint16"
    if ";16" in _raw_mode(image) and image.mode in ("RGB", "RGBA"):
        return "uint16"
    return {"I": "int32", "F": "float32"}.get(image.mode, "")


def values_of(image: Image.Image, content: bytes) -> np.ndarray:
    """The stored values of an image of some kind, without transparency: [H, W] or [H, W, 3].

    Pillow reduces 16-bit colour to the high bytes, so the low bytes are read by a second decoding.

    Args:
        image: opened from `content` and not yet loaded.
        content: the file.
    """
    if image.mode not in ("RGB", "RGBA"):
        return np.asarray(image).astype(np.uint16 if image.mode.startswith("I;16") else None, copy=False)
    raw_mode = _raw_mode(image)
    if raw_mode.startswith("LA"):  # four bytes a pixel: value and transparency, high and low
        _set_raw_mode(image, "RGBA")
        pairs = np.asarray(image).astype(np.uint16)
        return pairs[..., 0] << 8 | pairs[..., 1]
    second = Image.open(io.BytesIO(content))
    kind, order = raw_mode[:-1], raw_mode[-1].replace("N", _NATIVE)
    _set_raw_mode(second, kind + {"L": "B", "B": "L"}[order])
    high, low = (np.asarray(part)[..., :3].astype(np.uint16) for part in (image, second))
    return high << 8 | low


def extent(values: np.ndarray) -> Extent:
    """The extent of an image's values. Raises ValueError if some are no numbers."""
    found = Extent(float(values.min()), float(values.max()))
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        raise ValueError("holds values that are infinite or no numbers")
    return found


def fitting(found: Extent, kind: str) -> tuple[float, float]:
    """The values that become black and white: the smallest usual range that holds an extent.

    White is 1 or the largest number of 2, 4, 6, 8, 10, 12, 14, 16, ... bits, so the largest value is at least
    a quarter of it. Black is 0, or minus white if there are negative values.
    """
    tolerance = _TOLERANCE if kind == "float32" else 0
    largest = max(found.high, -found.low) / (1 + tolerance)
    white = 1.0
    if largest > white:
        bits = math.ceil(math.log2(largest + 1))
        white = 2.0 ** (bits + bits % 2) - 1
    return (-white if found.low < -tolerance * white else 0.0, white)


def chosen(
    found: Extent, kind: str, ranges: Mapping[str, tuple[float, float]], where: str
) -> tuple[float, float]:
    """The range of a data set for an image; the full one for 16 bits that use it.

    Raises:
        BadImage: the data set has no range for this kind, and the image could come out black.
    """
    if kind in ranges:
        return ranges[kind]
    if kind == "uint16" and found.high >= _DARK:
        return FULL
    raise BadImage(
        f"{where}: {KINDS[kind]} values from {found.low:g} to {found.high:g}, and none of the images looked "
        f"at tells which value is white; give it, as in --set white={fitting(found, kind)[1]:g}"
    )


def scaled(values: np.ndarray, limits: tuple[float, float], where: str) -> np.ndarray:
    """Values scaled from black..white to 0..255 and rounded: uint8 [H, W, 3].

    Raises:
        BadImage: more than a few values lie outside of the range.
    """
    black, white = limits
    margin = _TOLERANCE * (white - black)
    outside = (values < black - margin) | (values > white + margin)
    if outside.mean() > _OUTLIERS:
        found = extent(values)
        raise BadImage(
            f"{where}: values from {found.low:g} to {found.high:g} do not fit the data's range {black:g} to "
            f"{white:g}; give the value of white, as in --set white={max(found.high, -found.low):g}"
        )
    levels = (values.astype(np.float64) - black) * (255 / (white - black))
    pixels = np.rint(levels).clip(0, 255).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def in_full_range(image: Image.Image) -> np.ndarray:
    """A greyscale image of 16 bits, or of values up to 65535, as uint8 [H, W, 3]."""
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return np.repeat((values // 257).astype(np.uint8)[..., None], 3, axis=2)


def _raw_mode(image: Any) -> str:
    """How Pillow unpacks the file, such as RGB;16B; "" if it does not say."""
    for tile in getattr(image, "tile", ()):
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        return arguments[0] if arguments and isinstance(arguments[0], str) else ""
    return ""


def _set_raw_mode(image: Any, raw_mode: str) -> None:
    def changed(arguments: Any) -> Any:
        return (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode

    image.tile = [tile._replace(args=changed(tile.args)) for tile in image.tile]
