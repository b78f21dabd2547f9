"""From encoded bytes to an RGB image."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rescale.data.source import BadImage

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


def rgb(encoded: bytes | Path, where: str) -> Image.Image:
    """Decode to RGB; `where` names the image in messages.

    Greyscale is repeated, 16-bit greyscale scaled to 8 bits, CMYK and palettes converted, transparency
    dropped, an animation's first frame taken, EXIF orientation ignored: but for the 16 bits as
    torchvision's and timm's loaders do. Raises BadImage for what is damaged or no image.
    """
    try:
        with Image.open(encoded if isinstance(encoded, Path) else io.BytesIO(encoded)) as image:
            image.load()
            if image.mode.startswith("I"):  # Pillow's own conversion would clip everything above 255
                return _from_16_bits(image)
            image.apply_transparency()  # of a palette: else the conversion warns
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise BadImage(f"{where}: {_no_image(encoded)}") from None
    except DAMAGE as error:
        raise BadImage(f"{where}: {_reason(error)}") from None


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray((values // 257).astype(np.uint8), "L").convert("RGB")


def _no_image(encoded: bytes | Path) -> str:
    """What was found where an image should be: nothing, or how it begins."""
    if isinstance(encoded, Path):
        with encoded.open("rb") as file:
            encoded = file.read(12)
    return f"not an image that can be read (it begins with {encoded[:12]!r})" if encoded else "an empty file"


def _reason(error: Exception) -> str:
    """One line: the system's words without the file, which is named already."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
