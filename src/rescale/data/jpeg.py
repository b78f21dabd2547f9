"""JPEG by libjpeg-turbo directly: Pillow's pixels, sooner, and no rows below those that are needed."""

from collections.abc import Iterator

import numpy as np
import simplejpeg

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SEQUENTIAL = (0xC0, 0xC1)  # frames whose rows are coded from top to bottom, with Huffman codes
_SCAN = 0xDA
_SPACES = ("YCbCr", "Gray", "RGB")  # CMYK is left to Pillow, which converts it in its own way


def size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG that this module decodes; None for all else, and for files cut off."""
    if not encoded.startswith(_START) or not encoded.endswith(_END):
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    return (width, height) if space in _SPACES else None


def decode(encoded: bytes, rows: int) -> np.ndarray:
    """uint8 RGB [at least `rows`, W, 3], from the top; ValueError where there is anything to complain about.

    Where the file lets it, what lies below is passed over unread, with what may be damaged there.
    """
    shortened = _shortened(encoded, rows)
    if shortened is None:
        return simplejpeg.decode_jpeg(encoded)
    return simplejpeg.decode_jpeg(shortened, strict=False)  # else it complains about what follows


def _shortened(encoded: bytes, rows: int) -> bytearray | None:
    """The file with a height in its header that leaves the rows below out; None where that cannot be.

    It can where one sequential scan holds all components. Chroma of fewer rows is interpolated between
    them, so that its next row is kept too.
    """
    places = dict(_segments(encoded))
    frame, scan = next((places[kind] for kind in _SEQUENTIAL if kind in places), None), places.get(_SCAN)
    if frame is None or scan is None or encoded[scan + 4] != encoded[frame + 9]:
        return None
    components = encoded[frame + 10 : frame + 10 + 3 * encoded[frame + 9]]
    finest = max(sampling & 15 for sampling in components[1::3])
    rows += 2 * finest if finest > 1 else 0
    if rows >= int.from_bytes(encoded[frame + 5 : frame + 7]):
        return None
    shortened = bytearray(encoded)
    shortened[frame + 5 : frame + 7] = rows.to_bytes(2)
    return shortened


def _segments(encoded: bytes) -> Iterator[tuple[int, int]]:
    """Kind and place of each segment, up to the first scan."""
    at = len(_START)
    while encoded[at : at + 1] == b"\xff":
        yield encoded[at + 1], at
        if encoded[at + 1] == _SCAN:
            break
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
