"""The orientation that a camera stores beside the pixels: read it, and turn the pixels upright."""

import warnings
from collections.abc import Iterable
from typing import Literal

import numpy as np
from PIL import ExifTags, Image

UPRIGHT = 1
_TAG = int(ExifTags.Base.Orientation)
_SHORT = 3  # the type of the tag's value in EXIF
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def orientation_of(image: Image.Image) -> int:
    """The orientation of an image that Pillow has opened, 1 to 8; 1 (upright) if there is none.

    Damaged metadata counts as none: the pixels are intact.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _valid(image.getexif().get(_TAG, UPRIGHT))
    except Exception:  # Pillow raises errors of many kinds on damaged metadata
        return UPRIGHT


def orientation_in(segments: Iterable[bytes]) -> int:
    """The orientation in the APP1 segments of a JPEG, 1 to 8; 1 (upright) if there is none.

    The usual form, a single EXIF segment, is read here in a microsecond. Pillow reads all others.
    """
    exif, xmp = [], b""
    for segment in segments:
        if segment.startswith(_EXIF):
            exif.append(segment)
        elif segment.startswith(_XMP) and b"tiff:Orientation" in segment:
            xmp = segment.removeprefix(_XMP)
    if not exif and not xmp:
        return UPRIGHT
    value = _in_exif(exif[0]) if len(exif) == 1 else None
    if value is not None or (len(exif) == 1 and not xmp and not _holds_tag(exif[0])):
        return _valid(value)
    image = Image.Image()
    image.info = (
        {"exif": b"".join([*exif[:1], *(part.removeprefix(_EXIF) for part in exif[1:])])} if exif else {}
    )
    image.info["xmp"] = xmp
    return orientation_of(image)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels upright, as a view: [H, W, ...] -> [H, W, ...], or [W, H, ...] for 5 to 8.

    Source: EXIF 2.32, tag 0x0112, as `PIL.ImageOps.exif_transpose` applies it.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as stored, from upright ones, as a view; the inverse of `turned`."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def turned_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Width and height of an upright image, from those of the stored one."""
    return (height, width) if orientation >= 5 else (width, height)


def _in_exif(segment: bytes) -> int | None:
    """The tag in the first directory of an EXIF segment; None if it is not there in its usual form."""
    tiff = segment.removeprefix(_EXIF)
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    first = number(4, 4)
    for at in range(first + 2, min(first + 2 + 12 * number(first, 2), len(tiff) - 11), 12):
        if number(at, 2) == _TAG:
            usual = number(at + 2, 2) == _SHORT and number(at + 4, 4) == 1
            return number(at + 8, 2) if usual else None
    return None


def _holds_tag(segment: bytes) -> bool:
    """Whether the tag may be in a segment in another form."""
    return _TAG.to_bytes(2, "little") in segment or _TAG.to_bytes(2, "big") in segment


def _valid(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT
