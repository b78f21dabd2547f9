"""JPEG decoding by libjpeg-turbo: the same pixels as Pillow, faster, and only the rows that are needed."""

import numpy as np
import simplejpeg

from rescale.data.orientation import UPRIGHT, orientation_in

START, _END = b"\xff\xd8", b"\xff\xd9"
_SEQUENTIAL = (0xC0, 0xC1)  # frame types (SOF) of sequential, Huffman-coded JPEGs
_APP1 = 0xE1  # segments with EXIF and XMP
_SCAN = 0xDA
_SPACES = ("YCbCr", "Gray", "RGB")  # Pillow has its own conversion of CMYK


def size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG that `decode` supports; None for other content and truncated files."""
    if not encoded.startswith(START) or not encoded.endswith(_END):
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    return (width, height) if space in _SPACES else None


def orientation(encoded: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 to 8; 1 (upright) if it has none. Reads the first segments alone."""
    starts = [at for marker, at in _segments(encoded) if marker == _APP1]
    if not starts:
        return UPRIGHT
    contents = (encoded[at + 4 : at + 2 + int.from_bytes(encoded[at + 2 : at + 4])] for at in starts)
    return orientation_in(contents)


def decode(encoded: bytes, rows: int) -> np.ndarray:
    """Decode at least the top `rows` rows.

    If the file allows it, the rows below are not read, so damage there goes unnoticed.

    Returns:
        RGB, uint8 [at least `rows`, W, 3].

    Raises:
        ValueError: libjpeg-turbo reports an error or a warning.
    """
    shortened = _shortened(encoded, rows)
    if shortened is None:
        return simplejpeg.decode_jpeg(encoded)
    return simplejpeg.decode_jpeg(shortened, strict=False)  # strict: warns about the data after the last row


def _shortened(encoded: bytes, rows: int) -> bytearray | None:
    """The file with the height in its header reduced to `rows`; None if that is not possible.

    It is possible if a single sequential scan holds all components. Subsampled chroma is interpolated
    between rows, so its next row is kept too.
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


def _segments(encoded: bytes) -> list[tuple[int, int]]:
    """Marker and offset of each segment, up to and including the first scan, or to the end of the bytes."""
    segments, at, last = [], len(START), len(encoded) - 4
    while at <= last and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker == 0xFF:  # a marker may be preceded by any number of fill bytes
            at += 1
            continue
        segments.append((marker, at))
        if marker == _SCAN:
            break
        at += 2 + (encoded[at + 2] << 8 | encoded[at + 3])
    return segments
