"""Why a file is not read as an image."""

import io
import warnings

from PIL.TiffImagePlugin import ImageFileDirectory_v2

_TIFF = (b"II*\0", b"MM\0*")
_BIG_TIFF = (b"II+\0", b"MM\0+")
_BITS, _PHOTOMETRIC, _CHANNELS, _FORMAT = 258, 262, 277, 339  # tags of TIFF
_FORMATS = {
    1: "unsigned integers",
    2: "signed integers",
    3: "floats",
    5: "complex integers",
    6: "complex numbers",
}
_REMEDY = "convert it to grey (0 is black) or RGB with 8 or 16 bits a channel"


def reason(content: bytes) -> str:
    """Why Pillow does not know the content as an image, and what to do if it is one."""
    if not content:
        return "an empty file"
    if content.startswith(b"PF") and content[2:3].isspace():
        return f"a colour PFM, which is not supported; {_REMEDY}"
    if content.startswith(_TIFF + _BIG_TIFF) and (kind := _tiff(content)):
        return f"a TIFF with {kind}, which is not supported; {_REMEDY}"
    return f"not an image in a known format (it begins with {content[:12]!r})"


def _tiff(content: bytes) -> str:
    """The channels and the kind of the values of a TIFF; empty if it is damaged."""
    try:
        tags = ImageFileDirectory_v2(content[: 16 if content.startswith(_BIG_TIFF) else 8])
        file = io.BytesIO(content)
        file.seek(tags.next)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags.load(file)
        bits, channels = tags.get(_BITS, (1,))[0], tags.get(_CHANNELS, 1)
        form = _FORMATS.get(tags.get(_FORMAT, (1,))[0], "values of an unknown kind")
    except Exception:  # Pillow raises errors of many kinds on damaged tags
        return ""
    how = ", big-endian" if content.startswith(b"MM") else ""
    how += ", 0 is white" if tags.get(_PHOTOMETRIC) == 0 else ""
    return f"{bits}-bit {form} ({channels} channel{'s' * (channels != 1)}{how})"
