"""From encoded bytes to an RGB image."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rescale.data.source import BadImage


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
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise BadImage(f"{where}: not an image") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise BadImage(f"{where}: {' '.join(str(error).split()) or type(error).__name__}") from None


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray((values // 257).astype(np.uint8), "L").convert("RGB")
