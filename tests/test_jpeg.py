"""JPEGs by libjpeg-turbo against Pillow: whole, in part, and damaged."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from rescale.data import jpeg
from rescale.data.decode import rgb
from rescale.data.source import BadImage

HEIGHT, WIDTH = 75, 101  # no multiples of the blocks' sizes


def picture() -> np.ndarray:
    """Smooth colours with noise, so that neighbouring rows of chroma differ."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    smooth = np.stack([x * 2, y * 3, 255 - x - y], -1)
    noise = np.random.default_rng(0).integers(-30, 30, (HEIGHT, WIDTH, 3))
    return (smooth + noise).clip(0, 255).astype(np.uint8)


def save(image: np.ndarray | Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


SEQUENTIAL = {
    "4:4:4": save(picture(), subsampling=0),
    "4:2:2": save(picture(), subsampling=1),
    "4:2:0": save(picture(), subsampling=2),
    "grey": save(picture()[..., 0]),
    "restarts": save(picture(), restart_marker_blocks=3),
    "as RGB": save(picture(), keep_rgb=True),
    "with EXIF": save(picture(), exif=b"Exif\0\0" + bytes(3000)),
}
KINDS = SEQUENTIAL | {"progressive": save(picture(), progressive=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_pillows(kind: str) -> None:
    assert jpeg.size(KINDS[kind]) == (WIDTH, HEIGHT)
    assert np.array_equal(rgb(KINDS[kind], "it").pixels(), by_pillow(KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_upper_rows_are_the_same_when_nothing_else_is_decoded(kind: str) -> None:
    expected, decoded_rows = by_pillow(KINDS[kind]), []
    for rows in range(1, HEIGHT + 1):
        decoded_rows.append(len(jpeg.decode(KINDS[kind], rows)))
        pixels = rgb(KINDS[kind], "it").pixels(rows)
        assert pixels.shape == (rows, WIDTH, 3) and np.array_equal(pixels, expected[:rows]), rows
    assert (decoded_rows[0] < 10) == (kind in SEQUENTIAL)
    assert decoded_rows[-1] == HEIGHT


def test_without_its_next_row_chroma_would_differ() -> None:
    """Shows that the test above can fail: a height cut exactly at the requested row."""
    encoded = bytearray(KINDS["4:2:0"])
    places = dict(jpeg._segments(bytes(encoded)))
    encoded[places[0xC0] + 5 : places[0xC0] + 7] = (20).to_bytes(2)
    cut = jpeg.simplejpeg.decode_jpeg(bytes(encoded), strict=False)
    assert len(cut) == 20 and not np.array_equal(cut, by_pillow(KINDS["4:2:0"])[:20])


def test_what_is_left_to_pillow() -> None:
    cmyk = save(Image.fromarray(picture()).convert("CMYK"))
    for encoded in (cmyk, b"", bytes(100), KINDS["4:4:4"][:-2], KINDS["4:4:4"][:40] + b"\xff\xd9"):
        assert jpeg.size(encoded) is None
    assert np.array_equal(rgb(cmyk, "it").pixels(), by_pillow(cmyk))


@pytest.mark.parametrize("kind", KINDS)
def test_files_cut_off_are_bad_before_any_pixel_is_asked_for(kind: str) -> None:
    for share in (0.3, 0.6, 0.99):
        with pytest.raises(BadImage, match=r"(?i)truncated|broken"):
            rgb(KINDS[kind][: int(share * len(KINDS[kind]))], "it")


@pytest.mark.parametrize("kind", KINDS)
def test_what_pillow_makes_of_damaged_files_is_taken(kind: str) -> None:
    """Bytes overwritten, both ends whole: Pillow's pixels where it gives any, else its words."""
    rng = np.random.default_rng(0)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    bad = 0
    for _ in range(60):
        damaged = bytearray(KINDS[kind])
        for place in rng.integers(len(damaged) // 2, len(damaged) - 2, 3):
            damaged[place] = rng.integers(256)
        try:
            expected = by_pillow(bytes(damaged))
        except (OSError, SyntaxError):
            bad += 1
            with pytest.raises(BadImage):
                rgb(bytes(damaged), "it").pixels()
        else:
            assert np.array_equal(rgb(bytes(damaged), "it").pixels(), expected)
    assert bad < 60


def test_gigantic_headers_are_refused_as_pillow_refuses_them(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT // 3)
    with pytest.raises(BadImage, match="bomb"):
        rgb(KINDS["4:4:4"], "it")
