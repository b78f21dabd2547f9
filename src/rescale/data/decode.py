"""Decode image files to upright RGB pixels with 8 bits a channel."""

import io
import struct
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rescale.data import depth, jpeg, ranges, unsupported
from rescale.data.orientation import UPRIGHT, orientation_of, turned, turned_back, turned_size
from rescale.data.source import BadImage, Header, LazyImage
from rescale.preprocess import Decoding

# Exceptions that Pillow raises on damaged input, collected by fuzzing files of every format.
DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)
_ALL = 1 << 16  # more rows than a JPEG can have
_HEAD = 1 << 17  # bytes in which the metadata of a JPEG usually lie


def rgb(encoded: bytes | Path, where: str, decoding: Decoding | None = None) -> LazyImage:
    """Open an encoded image as RGB.

    Greyscale is repeated in three channels, CMYK and palette images are converted, transparency is dropped,
    and the first frame of an animation is used, as by the loaders of torchvision and timm. Images are turned
    by their EXIF orientation, and values of more than 8 bits are scaled, as `decoding` says.

    An ordinary JPEG that is not truncated is decoded lazily by libjpeg-turbo, down to the last row that is
    needed. Everything else is decoded immediately by Pillow.

    Args:
        encoded: the bytes of the file, or its path.
        where: name of the image in error messages.
        decoding: the rules of a data set. None, for an image on its own: it is turned, and the range of more
            than 8 bits is that of its own values.

    Raises:
        BadImage: the file cannot be read, is damaged or is not an image. For a lazily decoded JPEG, reading
            the pixels raises it.
    """
    content = _read(encoded, where)
    size = jpeg.size(content)
    if size is None or size[0] * size[1] > (Image.MAX_IMAGE_PIXELS or 0):
        return _by_pillow(content, where, decoding)
    stored = jpeg.orientation(content)
    orientation = stored if _turns(decoding) else UPRIGHT
    decode = partial(_jpeg, content, where, orientation)
    return LazyImage(*turned_size(*size, orientation), decode, Header(stored))


def header(encoded: bytes | Path, where: str) -> Header:
    """Read an image's header without decoding its pixels. Raises BadImage if there is none."""
    head = _read(encoded, where, _HEAD)
    if head.startswith(jpeg.START):
        return Header(jpeg.orientation(head))
    content = _read(encoded, where)
    with _opened(content, where) as image:
        return Header(_stored_orientation(image, content), depth.kind_of(image))


def measured(encoded: bytes | Path, where: str) -> ranges.Measured:
    """The extents of the stored values of an image with more than 8 bits. Raises BadImage."""
    content = _read(encoded, where)
    with _opened(content, where) as image:
        try:
            return ranges.measured(depth.values_of(image, content))
        except DAMAGE as error:
            raise BadImage(f"{where}: {_reason(error)}") from None


def _turns(decoding: Decoding | None) -> bool:
    return decoding is None or decoding.orientation == "exif"


def _read(encoded: bytes | Path, where: str, most: int = -1) -> bytes:
    """The bytes of a file, or the first `most` of them."""
    if isinstance(encoded, bytes):
        return encoded
    try:
        with encoded.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise BadImage(f"{where}: {_reason(error)}") from None


def _jpeg(content: bytes, where: str, orientation: int, rows: int) -> np.ndarray:
    """Decode by libjpeg-turbo; Pillow decides about files that it reports as damaged."""
    try:
        if orientation <= 2:  # its rows are those of the stored image
            return turned(jpeg.decode(content, rows), orientation)
        return turned(jpeg.decode(content, _ALL), orientation)
    except ValueError:
        as_stored = Decoding("exif" if orientation != UPRIGHT else "stored")
        return _by_pillow(content, where, as_stored).decode(rows)


def _by_pillow(content: bytes, where: str, decoding: Decoding | None) -> LazyImage:
    with _opened(content, where) as image:
        try:
            by_tiff = _tiff_orientation(image)  # Pillow turns TIFF files when it loads them
            kind = depth.kind_of(image)
            pixels = _pixels(image, content, where, decoding)
            stored = by_tiff if by_tiff != UPRIGHT else orientation_of(image)
        except DAMAGE as error:
            raise BadImage(f"{where}: {_reason(error)}") from None
    if _turns(decoding) and by_tiff == UPRIGHT:
        pixels = turned(pixels, stored)
    elif decoding is not None and decoding.leaves_tiff:
        pixels = turned_back(pixels, by_tiff)
    return LazyImage.of(pixels, Header(stored, kind))


def _pixels(image: Image.Image, content: bytes, where: str, decoding: Decoding | None) -> np.ndarray:
    """RGB of an opened image, uint8 [H, W, 3], not turned."""
    kind = depth.kind_of(image)
    known = {} if decoding is None else decoding.ranges
    if not kind or known is None:
        return _in_8_bits(image)
    inverted = depth.is_inverted(image)
    if kind == "uint16" and known.get(kind) == ranges.FULL:
        pixels = _in_8_bits(image)
    else:
        values = depth.values_of(image, content)
        extent = ranges.measured(values).whole
        own = ranges.fitting(extent, kind) if decoding is None else None
        pixels = depth.scaled(values, own or ranges.chosen(extent, kind, known, where), where)
    return 255 - pixels if inverted else pixels


def _in_8_bits(image: Image.Image) -> np.ndarray:
    """RGB of an opened image, uint8 [H, W, 3], by Pillow alone; 65535 is white in greyscale of 16 bits."""
    image.load()
    if image.mode.startswith("I"):  # Pillow would clip values above 255
        return depth.in_full_range(image)
    image.apply_transparency()  # otherwise the conversion of a palette image warns
    return np.array(image.convert("RGB"))


def _opened(content: bytes, where: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise BadImage(f"{where}: {unsupported.reason(content)}") from None
    except DAMAGE as error:
        raise BadImage(f"{where}: {_reason(error)}") from None


def _stored_orientation(image: Image.Image, content: bytes) -> int:
    """The orientation of an opened image. A PNG is decoded only if the chunk may follow the pixels."""
    if image.format == "PNG" and not any(name in content for name in (b"eXIf", b"xif", b"tiff:Orientation")):
        return UPRIGHT
    return orientation_of(image)


def _tiff_orientation(image: Image.Image) -> int:
    return orientation_of(image) if image.format == "TIFF" else UPRIGHT


def _reason(error: Exception) -> str:
    """One line with the cause; without the path, which the caller adds."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
