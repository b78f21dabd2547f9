"""From encoded bytes to RGB pixels."""

import io
import struct
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rescale.data import jpeg
from rescale.data.source import BadImage, LazyImage

# What Pillow's readers raise on damaged bytes, found by flipping and cutting files of every format.
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
    """An encoded image as RGB; `where` names it in messages.

    Greyscale is repeated, 16-bit greyscale scaled to 8 bits, CMYK and palettes converted, transparency
    dropped, an animation's first frame taken, EXIF orientation ignored: but for the 16 bits as
    torchvision's and timm's loaders do. Raises BadImage for what is damaged or no image.

    A plain JPEG that has its end is decoded when its pixels are asked for, only down to the last row that
    is asked for, by libjpeg-turbo; all else at once, by Pillow.
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
    """Pillow judges what libjpeg-turbo complains about."""
    try:
        return jpeg.decode(content, rows)
    except ValueError:
        return _by_pillow(content, where)


def _by_pillow(content: bytes, where: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.mode.startswith("I"):  # Pillow's own conversion would clip everything above 255
                return _from_16_bits(image)
            image.apply_transparency()  # of a palette: else the conversion warns
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError:
        raise BadImage(f"{where}: {_no_image(content)}") from None
    except DAMAGE as error:
        raise BadImage(f"{where}: {_reason(error)}") from None


def _from_16_bits(image: Image.Image) -> np.ndarray:
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return np.repeat((values // 257).astype(np.uint8)[..., None], 3, axis=2)


def _no_image(content: bytes) -> str:
    """What was found where an image should be: nothing, or how it begins."""
    return f"not an image that can be read (it begins with {content[:12]!r})" if content else "an empty file"


def _reason(error: Exception) -> str:
    """One line: the system's words without the file, which is named already."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
