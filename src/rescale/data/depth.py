"""Images with more than 8 bits a channel: reading their values, and scaling them to 8 bits."""

import io
import sys
from typing import Any

import numpy as np
from PIL import Image

from rescale.data.ranges import OUTLIERS, TOLERANCE, measured, text
from rescale.data.source import BadImage

_PHOTOMETRIC = 262  # a TIFF's tag
_NATIVE = "L" if sys.byteorder == "little" else "B"


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
    raw_mode = _raw_mode(image)
    if image.mode not in ("RGB", "RGBA"):
        values = np.asarray(image)
        if raw_mode.startswith("I;32N"):  # a TIFF without sign, whose bits Pillow keeps in 32 bits with sign
            return values.view(np.uint32)
        return values.astype(np.uint16 if image.mode.startswith("I;16") else None, copy=False)
    if raw_mode.startswith("LA"):  # four bytes a pixel: value and transparency, high and low
        _set_raw_mode(image, "RGBA")
        pairs = np.asarray(image).astype(np.uint16)
        return pairs[..., 0] << 8 | pairs[..., 1]
    second = Image.open(io.BytesIO(content))
    kind, order = raw_mode[:-1], raw_mode[-1].replace("N", _NATIVE)
    _set_raw_mode(second, kind + {"L": "B", "B": "L"}[order])
    high, low = (np.asarray(part)[..., :3].astype(np.uint16) for part in (image, second))
    return high << 8 | low


def scaled(values: np.ndarray, limits: tuple[float, float], where: str) -> np.ndarray:
    """Values scaled from black..white to 0..255 and rounded: uint8 [H, W, 3].

    Raises:
        BadImage: more than a few values lie outside of the range.
    """
    black, white = limits
    margin = TOLERANCE * (white - black)
    outside = (values < black - margin) | (values > white + margin)
    if outside.mean() > OUTLIERS:
        extent = measured(values).whole
        raise BadImage(
            f"{where}: values from {text(extent.low)} to {text(extent.high)} do not fit the data's range "
            f"{text(black)} to {text(white)}; give the value of white to train, eval or data show, as in "
            f"--set white={text(extent.size)}"
        )
    levels = (values.astype(np.float64) - black) * (255 / (white - black))
    pixels = np.rint(levels).clip(0, 255).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def is_inverted(image: Image.Image) -> bool:
    """Whether 0 is white in an opened image with more than 8 bits: a TIFF may say so, as scanners' do.

    Pillow inverts such images of 8 bits, and only those.
    """
    tags: Any = getattr(image, "tag_v2", {})
    return image.format == "TIFF" and tags.get(_PHOTOMETRIC, 0) == 0


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
