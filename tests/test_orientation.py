"""EXIF orientation: images are turned once, in every format, as Pillow's exif_transpose turns them."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from data_files import pixels, write_parquet, write_tar
from rescale.data import Data, decoded, jpeg, open_data
from rescale.data.augment.crops import Box
from rescale.data.augment.resize import resized
from rescale.data.augment.view import View
from rescale.data.decode import header, rgb
from rescale.preprocess import BEFORE, Decoding

STORED = Decoding("stored")
FORMATS = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "AVIF": {"quality": 100},
}
COLOUR = Image.fromarray(pixels(0, size=40)[:24])  # 40 x 24


def photo(kind: str, orientation: int, image: Image.Image = COLOUR) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", orientation
    file = io.BytesIO()
    image.save(file, kind, exif=exif, **FORMATS[kind])
    return file.getvalue()


def by_pillow(content: bytes, *, turn: bool = True) -> np.ndarray:
    image = Image.open(io.BytesIO(content))
    return np.array((ImageOps.exif_transpose(image) if turn else image).convert("RGB"))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_once(kind: str, orientation: int) -> None:
    content = photo(kind, orientation)
    image = rgb(content, "it", Decoding())
    expected = by_pillow(content)
    assert image.header.orientation == orientation and image.size == expected.shape[1::-1]
    assert np.array_equal(image.pixels(), expected) and image.pixels().flags.c_contiguous
    assert header(content, "it").orientation == orientation
    if kind != "AVIF":  # is not stored exactly
        assert (image.size == (24, 40)) == (orientation >= 5)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", [2, 3, 6, 7])
@pytest.mark.parametrize("decoding", [STORED, BEFORE])
def test_as_stored_is_what_pillow_opens(kind: str, orientation: int, decoding: Decoding) -> None:
    """Pillow turns TIFF files when it opens them, and so did versions before the orientation was a choice."""
    content = photo(kind, orientation)
    image = rgb(content, "it", decoding)
    assert image.header.orientation == orientation
    expected = np.array(COLOUR) if (kind, decoding) == ("TIFF", STORED) else by_pillow(content, turn=False)
    assert np.array_equal(image.pixels(), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_files_of_16_bits_as_stored(orientation: int) -> None:
    values = np.arange(24 * 40, dtype=np.uint16).reshape(24, 40) * 16
    content = photo("TIFF", orientation, Image.fromarray(values))
    limits = Decoding("stored", {"uint16": (0.0, 16383.0)})
    stored = rgb(content, "it", limits).pixels()
    assert np.array_equal(stored[..., 0], np.rint(values * (255 / 16383)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("box", [Box(3, 1, 10, 8), Box(0, 0, 24, 24), Box(2, 14, 20, 10)])
def test_a_crop_is_drawn_on_the_turned_image(orientation: int, box: Box) -> None:
    """Also where only the upper rows of a JPEG are decoded."""
    content = photo("JPEG", orientation)
    image = rgb(content, "it")
    expected = resized(by_pillow(content), box, 9, "bilinear")
    assert np.array_equal(View(box, 9).of(image, "bilinear"), expected)
    assert np.array_equal(image.pixels(7), by_pillow(content)[:7])


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs(mode: str) -> None:
    content = photo("JPEG", 6, COLOUR.convert(mode))
    assert np.array_equal(rgb(content, "it").pixels(), by_pillow(content))


def test_a_jpeg_that_pillow_has_to_decode_is_turned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(content: bytes, rows: int) -> np.ndarray:
        raise ValueError("a warning of libjpeg-turbo")

    monkeypatch.setattr(jpeg, "decode", fails)
    for orientation in range(1, 9):
        content = photo("JPEG", orientation)
        assert np.array_equal(rgb(content, "it").pixels(), by_pillow(content))
        assert np.array_equal(rgb(content, "it", STORED).pixels(), by_pillow(content, turn=False))


def test_png_with_its_chunk_after_the_pixels_or_in_text() -> None:
    late = photo("PNG", 6)
    start = late.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(late[start : start + 4])
    moved = late[:start] + late[end:-12] + late[start:end] + late[-12:]
    assert moved.index(b"IDAT") < moved.index(b"eXIf")
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    file = io.BytesIO()
    COLOUR.save(file, "PNG", pnginfo=text)
    for content in (moved, file.getvalue()):
        assert by_pillow(content).shape == (40, 24, 3)
        assert np.array_equal(rgb(content, "it").pixels(), by_pillow(content))
        assert header(content, "it").orientation == 6


def segments(content: bytes, *added: bytes) -> bytes:
    """A JPEG with APP1 segments added after its start."""
    parts = [b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment for segment in added]
    return content[:2] + b"".join(parts) + content[2:]


def plain() -> bytes:
    file = io.BytesIO()
    COLOUR.save(file, "JPEG", quality=95)
    return file.getvalue()


def exif_of(orientation: int, order: str = "II", kind: int = 3) -> bytes:
    """An EXIF segment with one tag. kind: type of its value; 3 is usual, 4 is a long number."""
    number = "little" if order == "II" else "big"

    def value(n: int, size: int) -> bytes:
        return n.to_bytes(size, number)

    entry = value(0x0112, 2) + value(kind, 2) + value(1, 4) + value(orientation, 2 if kind == 3 else 4)
    head = order.encode() + value(42, 2) + value(8, 4)
    return b"Exif\0\0" + head + value(1, 2) + entry.ljust(12, b"\0") + value(0, 4)


XMP = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="


@pytest.mark.parametrize(
    "added",
    [
        [],
        [exif_of(6)],
        [exif_of(8, "MM")],
        [exif_of(6, kind=4)],
        [exif_of(3, "MM", kind=4)],
        [exif_of(9)],
        [exif_of(0)],
        [XMP + b'"6"/>'],
        [exif_of(1), XMP + b'"6"/>'],  # EXIF decides
        [b"Exif\0\0II*\0\x08\0\0\0\0\0", XMP + b'"8"/>'],
        [exif_of(6)[:-10], exif_of(6)[-10:]],
        [exif_of(6)[:20], b"Exif\0\0" + exif_of(6)[20:]],  # one block in two segments
        [b"Exif\0\0"],
        [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(40)],
        [b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(40)],
        [b"Exif\0\0nonsense" + bytes(40)],
        [b"something else", exif_of(5)],
    ],
)
def test_every_form_is_read_as_by_pillow(added: list[bytes]) -> None:
    content = segments(plain(), *added)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = Image.open(io.BytesIO(content)).getexif().get(0x0112, 1)
    except Exception:
        expected = 1
    expected = expected if expected in range(1, 9) else 1
    assert jpeg.orientation(content) == expected
    assert rgb(content, "it").header.orientation == expected


@pytest.mark.parametrize("seed", range(40))
def test_damaged_metadata_is_no_damaged_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    segment = bytearray(exif_of(6))
    for place in rng.integers(6, len(segment), 3):
        segment[place] = rng.integers(256)
    content = segments(plain(), bytes(segment))
    assert 1 <= rgb(content, "it").header.orientation <= 8
    assert rgb(content, "it").pixels().shape[2] == 3


def test_fill_bytes_before_a_marker() -> None:
    content = segments(plain(), exif_of(6))
    filled = content[:2] + b"\xff\xff\xff" + content[2:]
    assert by_pillow(filled).shape == (40, 24, 3)
    assert np.array_equal(rgb(filled, "it").pixels(), by_pillow(filled))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for part in ("train", "val"):
        for number, name in enumerate("ab"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(3):
                content = photo("JPEG", 6 if i == 0 else 1)
                (tmp_path / part / name / f"{number}{i}.jpg").write_bytes(content)
    return tmp_path


def sides(data: Data) -> list[tuple[int, int]]:
    return [data.train.sample(i).media.size for i in range(len(data.train))]


def test_a_data_set_is_turned_and_says_so(photos: Path) -> None:
    data = open_data(photos)
    assert sides(data) == [(24, 40), (40, 24), (40, 24)] * 2
    assert [note for note in data.notes if note.startswith("orientation")] == [
        "orientation: 4 of 12 images looked at have an EXIF orientation and are turned upright; "
        "--set orientation=stored of train and data show leaves them"
    ]
    for stored in (open_data(photos, decoding=STORED), decoded(data, STORED)):
        assert sides(stored) == [(40, 24)] * 6
    assert any("is not applied" in note for note in open_data(photos, decoding=STORED).notes)


def test_one_turned_image_is_spoken_of_in_the_singular(tmp_path: Path) -> None:
    for name, orientation in (("a", 6), ("b", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(photo("JPEG", orientation))
    assert (
        "orientation: 1 of 2 images looked at has an EXIF orientation and is turned upright; "
        "--set orientation=stored of train and data show leaves it"
    ) in open_data(tmp_path).notes


def test_tars_and_parquet_are_turned(tmp_path: Path) -> None:
    members = [
        (f"{i}.{end}", content)
        for i in range(6)
        for end, content in (("jpg", photo("JPEG", 6)), ("cls", str(i % 2).encode()))
    ]
    write_tar(tmp_path / "tars" / "a.tar", members)
    write_parquet(tmp_path / "parquet" / "a.parquet", range(6))
    assert set(sides(open_data(tmp_path / "tars"))) == {(24, 40)}
    assert set(sides(open_data(tmp_path / "tars", decoding=STORED))) == {(40, 24)}
    assert set(sides(open_data(tmp_path / "parquet"))) == {(8, 8)}
