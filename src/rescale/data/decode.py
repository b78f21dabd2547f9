"""Decode image files to RGB pixels."""

import io
import struct
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rescale.data import jpeg
from rescale.data.source import BadImage, LazyImage

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


def rgb(encoded: bytes | Path, where: str) -> LazyImage:
    """Open an encoded image as RGB.

    Greyscale is repeated in three channels, 16-bit greyscale is scaled to 8 bits, CMYK and palette images
    are converted, transparency is dropped, the first frame of an animation is used, and EXIF orientation is
    ignored. Except for 16-bit images this matches the loaders of torchvision and timm.

    An ordinary JPEG that is not truncated is decoded lazily by libjpeg-turbo, down to the last row that is
    needed. Everything else is decoded immediately by Pillow.

    Args:
        encoded: the bytes of the file, or its path.
        where: name of the image in error messages.

    Raises:
        BadImage: the file cannot be read, is damaged or is not an image. For a lazily decoded JPEG, reading
            the pixels raises it.
    """
    try:
        content = encoded.read_bytes() if isinstance(encoded, Path) else encoded
    except OSError as error:
        raise BadImage(f"{where}: {_reason(error)}") from None
    size = jpeg.size(content)
    if size is None or size[0] * size[1] > (Image.MAX_IMAGE_PIXELS or 0):
        return LazyImage.of(_by_pillow(content, where))
    return LazyImage(*size, partial(_jpeg, content, where))


def _jpeg(content: bytes, where: str, rows: int) -> np.ndarray:
    """Decode by libjpeg-turbo; Pillow decides about files that it reports as damaged."""
    try:
        return jpeg.decode(content, rows)
    except ValueError:
        return _by_pillow(content, where)


def _by_pillow(content: bytes, where: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.mode.startswith("I"):  # Pillow would clip values above 255
                return _from_16_bits(image)
            image.apply_transparency()  # otherwise the conversion of a palette image warns
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError:
        raise BadImage(f"{where}: {_no_image(content)}") from None
    except DAMAGE as error:
        raise BadImage(f"{where}: {_reason(error)}") from None


def _from_16_bits(image: Image.Image) -> np.ndarray:
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return np.repeat((values // 257).astype(np.uint8)[..., None], 3, axis=2)


def _no_image(content: bytes) -> str:
    """Why the content is not an image: it is empty, or its first bytes are not those of an image."""
    return f"not an image in a known format (it begins with {content[:12]!r})" if content else "an empty file"


def _reason(error: Exception) -> str:
    """One line with the cause; without the path, which the caller adds."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
