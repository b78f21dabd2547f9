"""Images with more than 8 bits a channel never come out black, and one range holds for a whole data set."""

import io
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_files import encoded, pixels
from rescale.data import BadImage, decoded, open_data
from rescale.data.decode import header, rgb
from rescale.data.ranges import Extent, Measured, agreed, fitting, measured
from rescale.preprocess import BEFORE, Decoding

GREY = pixels(0, size=16)[..., 0]
COLOUR = pixels(1, size=16)


def png16(values: np.ndarray) -> bytes:
    """A 16-bit PNG of grey or colour: [H, W] or [H, W, 3], or [H, W, 2] or [H, W, 4] with transparency."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def tiff(values: np.ndarray, order: str = "<", deflate: bool = False) -> bytes:
    """A TIFF of integers or floats: one strip, in either byte order."""
    height, width = values.shape[:2]
    samples = 1 if values.ndim == 2 else values.shape[2]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if deflate else data
    bits, form = 8 * values.dtype.itemsize, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * samples), 259: (3, [8 if deflate else 1]),
        262: (3, [2 if samples == 3 else 1]), 273: (4, [0]), 277: (3, [samples]), 278: (4, [height]),
        279: (4, [len(data)]), 339: (3, [form] * samples),
    }  # fmt: skip
    extra, start = b"", 8 + 2 + 12 * len(tags) + 4
    packed = {}
    for tag, (size, numbers) in tags.items():
        body = struct.pack(order + {3: "H", 4: "I"}[size] * len(numbers), *numbers)
        if len(body) > 4:
            body, extra = struct.pack(order + "I", start + len(extra)), extra + body
        packed[tag] = (size, len(numbers), body.ljust(4, b"\0"))
    packed[273] = (4, 1, struct.pack(order + "I", start + len(extra)))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    entries = b"".join(struct.pack(order + "HHI", tag, *packed[tag][:2]) + packed[tag][2] for tag in tags)
    return head + entries + bytes(4) + extra + data


def pillow_tiff(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    return file.getvalue()


def as_12_bits(levels: np.ndarray) -> np.ndarray:
    return levels.astype(np.uint16) << 4 | levels >> 4


FILES = {
    "12 bits in a PNG": (png16(as_12_bits(GREY)), "uint16", (0, 4095), GREY),
    "12 bits in a TIFF": (pillow_tiff(as_12_bits(GREY)), "uint16", (0, 4095), GREY),
    "12 bits in a big-endian TIFF": (tiff(as_12_bits(GREY), ">"), "uint16", (0, 4095), GREY),
    "12 bits in colour": (png16(as_12_bits(COLOUR)), "uint16", (0, 4095), COLOUR),
    "12 bits and transparency": (
        png16(np.dstack([as_12_bits(COLOUR), as_12_bits(GREY)])), "uint16", (0, 4095), COLOUR
    ),
    "12 bits in grey and transparency": (
        png16(np.dstack([as_12_bits(GREY), as_12_bits(GREY[::-1])])), "uint16", (0, 4095), GREY
    ),
    "12 bits in a colour TIFF": (tiff(as_12_bits(COLOUR)), "uint16", (0, 4095), COLOUR),
    "12 bits in a big-endian colour TIFF": (tiff(as_12_bits(COLOUR), ">"), "uint16", (0, 4095), COLOUR),
    "12 bits in a compressed TIFF": (
        tiff(as_12_bits(COLOUR), deflate=True), "uint16", (0, 4095), COLOUR
    ),
    "12 bits in a compressed big-endian TIFF": (
        tiff(as_12_bits(COLOUR), ">", deflate=True), "uint16", (0, 4095), COLOUR
    ),
    "8 bits in 16": (png16(GREY.astype(np.uint16)), "uint16", (0, 255), GREY),
    "8 bits in 32": (pillow_tiff(GREY.astype(np.int32)), "int32", (0, 255), GREY),
    "8 bits in 32 without sign": (tiff(GREY.astype(np.uint32)), "int32", (0, 255), GREY),
    "16 bits in 32": (pillow_tiff(GREY.astype(np.int32) * 257), "int32", (0, 65535), GREY),
    "floats of 0 to 1": (pillow_tiff((GREY / 255).astype(np.float32)), "float32", (0, 1), GREY),
    "floats of 0 to 255": (pillow_tiff(GREY.astype(np.float32)), "float32", (0, 255), GREY),
    "full 16 bits": (png16(GREY.astype(np.uint16) * 257), "uint16", (0, 65535), GREY),
    "full 16 bits in colour": (png16(COLOUR.astype(np.uint16) * 257), "uint16", (0, 65535), COLOUR),
}  # fmt: skip


def big_tiff(bits: int, form: int) -> bytes:
    """A BigTIFF of one black pixel; form: 1 without sign, 2 with sign, 3 floats."""
    tags = {256: 1, 257: 1, 258: bits, 259: 1, 262: 1, 273: 200, 277: 1, 278: 1, 279: bits // 8, 339: form}
    entries = b"".join(struct.pack("<HHQQ", tag, 3, 1, value) for tag, value in tags.items())
    head = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(tags))
    return (head + entries).ljust(232, b"\0") + bytes(bits // 8)


def in_rgb(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, axis=2) if levels.ndim == 2 else levels


@pytest.mark.parametrize("name", FILES)
def test_a_range_gives_back_the_8_bits(name: str) -> None:
    content, kind, limits, levels = FILES[name]
    assert header(content, "it").kind == kind
    image = rgb(content, "it", Decoding(ranges={kind: tuple(map(float, limits))}))
    assert np.array_equal(image.pixels(), in_rgb(levels))
    assert np.array_equal(rgb(content, "it").pixels(), in_rgb(levels))  # an image on its own


@pytest.mark.parametrize("name", FILES)
def test_a_data_set_has_one_range_that_is_said_and_stored(tmp_path: Path, name: str) -> None:
    content, kind, limits, levels = FILES[name]
    ending = "tif" if content[:2] in (b"II", b"MM") else "png"
    for part in ("train", "val"):
        for label in ("a", "b"):
            (tmp_path / part / label).mkdir(parents=True)
            (tmp_path / part / label / f"0.{ending}").write_bytes(content)
            (tmp_path / part / label / "8 bits.png").write_bytes(encoded(0))
    data = open_data(tmp_path)
    assert data.decoding.ranges == {kind: limits}
    assert np.array_equal(data.train.sample(0).media.pixels(), in_rgb(levels))
    (line,) = [note for note in data.notes if "is white" in note]
    assert f"{limits[1]} is white" in line.replace("1e+00", "1") and "values of 4 of them" in line
    before = rgb(content, "it", BEFORE).pixels()
    assert before.shape == in_rgb(levels).shape
    again = open_data(tmp_path, decoding=data.decoding)
    assert not [note for note in again.notes if "is white" in note]


def test_before_is_what_earlier_versions_made() -> None:
    for name, limit in (("12 bits in a PNG", 15), ("8 bits in 32", 0), ("floats of 0 to 1", 1)):
        assert rgb(FILES[name][0], "it", BEFORE).pixels().max() <= limit
    for name in ("floats of 0 to 255", "full 16 bits", "full 16 bits in colour", "16 bits in 32"):
        content, _, _, levels = FILES[name]
        assert np.array_equal(rgb(content, "it", BEFORE).pixels(), in_rgb(levels))


@pytest.mark.parametrize(
    ("low", "high", "kind", "limits"),
    [
        (0, 0, "uint16", (0, 1)),
        (0, 1, "uint16", (0, 1)),
        (0, 16, "uint16", (0, 63)),
        (3, 255, "uint16", (0, 255)),
        (0, 256, "uint16", (0, 1023)),
        (0, 4095, "uint16", (0, 4095)),
        (0, 4096, "uint16", (0, 16383)),
        (0, 65535, "uint16", (0, 65535)),
        (0, 70000, "int32", (0, 2**18 - 1)),
        (-1024, 3071, "int32", (-4095, 4095)),
        (0, 1.0, "float32", (0, 1)),
        (-0.02, 1.03, "float32", (0, 1)),
        (-1, 1, "float32", (-1, 1)),
        (0, 1e-4, "float32", (0, 1)),
        (0, 255, "float32", (0, 255)),
        (0, 300, "float32", (0, 1023)),
        (0, 1.7, "float32", (0, 2)),
        (0, 100, "float32", (0, 128)),
        (0, 133, "float32", (0, 128)),
        (-3.1, 3.3, "float32", (-4, 4)),
        (-900, 3071, "float32", (-4096, 4096)),
        (0, 2**32 - 1, "int32", (0, 2**32 - 1)),
    ],
)
def test_ranges(low: float, high: float, kind: str, limits: tuple[float, float]) -> None:
    assert fitting(Extent(low, high), kind) == limits


def test_an_image_outside_of_the_range_is_named() -> None:
    bright = png16(np.full((8, 8), 60000, np.uint16))
    with pytest.raises(BadImage, match=r"^it: values from 60000 to 60000 .*range 0 to 4095; .*white=60000$"):
        rgb(bright, "it", Decoding(ranges={"uint16": (0.0, 4095.0)}))
    hot = as_12_bits(np.tile(GREY, (4, 4)))
    hot[3, 3] = 65535  # a single pixel is cut off
    assert rgb(png16(hot), "it", Decoding(ranges={"uint16": (0.0, 4095.0)})).pixels()[3, 3, 0] == 255


def test_an_image_whose_range_is_unknown_is_black_under_no_circumstances() -> None:
    for name in ("12 bits in a PNG", "12 bits in colour", "8 bits in 32", "floats of 0 to 1"):
        with pytest.raises(BadImage, match=r"^it: .* which value is white; give it .*, as in --set white="):
            rgb(FILES[name][0], "it", Decoding())
    for name in ("full 16 bits", "full 16 bits in colour"):
        content, *_, levels = FILES[name]
        assert np.array_equal(rgb(content, "it", Decoding()).pixels(), in_rgb(levels))


def test_values_that_are_no_numbers_are_damage() -> None:
    values = (GREY / 255).astype(np.float32)
    for value in (np.nan, np.inf):
        values[3, 4] = value
        with pytest.raises(BadImage, match=r"^it: holds values that are infinite or no numbers"):
            rgb(pillow_tiff(values), "it")


def test_netpbm_declares_its_range() -> None:
    content = b"P5 16 16 4095\n" + as_12_bits(GREY).astype(">u2").tobytes()
    assert header(content, "it").kind == ""
    assert np.abs(rgb(content, "it", Decoding()).pixels()[..., 0].astype(int) - GREY).max() <= 1


def test_the_middle_of_negative_values_is_grey() -> None:
    content = pillow_tiff(np.linspace(-1, 1, 256, dtype=np.float32).reshape(16, 16))
    assert rgb(content, "it").pixels()[..., 0].ravel().tolist() == list(range(256))


def test_damaged_images_do_not_stop_the_measuring(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(4):
            (tmp_path / label / f"{i}.png").write_bytes(png16(as_12_bits(GREY)))
    (tmp_path / "a" / "0.png").write_bytes(b"")
    (tmp_path / "a" / "1.png").write_bytes(png16(as_12_bits(GREY))[:200])
    data = open_data(tmp_path)
    assert data.decoding.ranges == {"uint16": (0, 4095)}
    assert decoded(data, BEFORE).decoding == BEFORE
    json.dumps(data.manifest())


def dataset(root: Path, images: Sequence[np.ndarray]) -> Path:
    """A folder with two classes; integers become PNG files, floats TIFF files."""
    for i, values in enumerate(images):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        if values.dtype == np.float32:
            (root / "ab"[i % 2] / f"{i:03d}.tif").write_bytes(pillow_tiff(values))
        else:
            (root / "ab"[i % 2] / f"{i:03d}.png").write_bytes(png16(values))
    return root


def test_a_hot_pixel_does_not_decide_for_all(tmp_path: Path) -> None:
    images = [as_12_bits(GREY)] * 60
    images[7] = as_12_bits(GREY)
    images[7][3, 3] = 65535
    data = open_data(dataset(tmp_path, images))
    assert data.decoding.ranges == {"uint16": (0, 4095)}
    (line,) = [note for note in data.notes if "is white" in note]
    assert "values of 59 of them go from 0 to" in line and "1 other from 0 to 65535: up to 1 %" in line
    hot = rgb(png16(images[7]), "it", data.decoding).pixels()[..., 0]
    assert hot[3, 3] == 255 and (hot == GREY).sum() >= GREY.size - 1


def test_an_odd_image_is_reported_and_not_the_others(tmp_path: Path) -> None:
    images = [(GREY / 255).astype(np.float32)] * 12
    images[5] = GREY.astype(np.float32)
    data = open_data(dataset(tmp_path, images))
    assert data.decoding.ranges == {"float32": (0, 1)}
    assert any("1 other from 0 to 25" in note for note in data.notes)
    with pytest.raises(BadImage, match="do not fit the data's range 0 to 1;"):
        rgb(pillow_tiff(images[5]), "it", data.decoding)


def plain(low: float, high: float) -> Measured:
    return Measured(Extent(low, high), Extent(low, high))


def test_what_many_images_need_decides() -> None:
    dim, bright = plain(0, 4000), plain(0, 60000)
    assert agreed([dim] * 19 + [bright], "uint16") == (0, 4095)
    assert agreed([dim] * 17 + [bright] * 3, "uint16") == (0, 65535)
    assert agreed([dim], "uint16") == (0, 4095) and agreed([bright], "uint16") == (0, 65535)
    assert agreed([plain(0, 4000)] * 19 + [plain(0, 16000)], "uint16") == (0, 16383)  # a quarter as bright
    cold = Measured(Extent(-7, 4000), Extent(0, 4000))
    assert agreed([dim] * 19 + [cold], "int32") == (0, 4095)
    assert agreed([plain(-1, 1)] * 3, "float32") == (-1, 1)
    values = np.arange(1000)
    assert measured(values) == (Extent(0, 999), Extent(5, 994))
    assert measured(values[:100]) == (Extent(0, 99), Extent(0, 99))


def test_images_that_come_out_almost_black_are_told(tmp_path: Path) -> None:
    """8-bit values in 16 bits, in the range of a run with 12 bits; and some in brighter data."""
    dark = dataset(tmp_path / "dark", [GREY.astype(np.uint16)] * 6)
    data = open_data(dark, decoding=Decoding(ranges={"uint16": (0.0, 4095.0)}))
    (line,) = [note for note in data.notes if "almost black" in note]
    assert line.startswith("16-bit: 6 of 6 images looked at") and "4095 is white" in line
    assert any("almost black" in note for note in open_data(dark, decoding=BEFORE).notes)
    assert not any("almost black" in note for note in open_data(dark).notes)
    mixed = dataset(tmp_path / "mixed", [as_12_bits(GREY)] * 6 + [GREY.astype(np.uint16)] * 2)
    assert any("2 of 8 images" in note and "almost black" in note for note in open_data(mixed).notes)
    black = dataset(tmp_path / "black", [as_12_bits(GREY)] * 6 + [np.zeros((9, 9), np.uint16)] * 2)
    assert not any("almost black" in note for note in open_data(black).notes)


def test_an_image_of_14_bits_that_was_not_looked_at_is_reported() -> None:
    values = as_12_bits(GREY) * 4
    assert 4096 * 3 < values.max() < 16384
    with pytest.raises(BadImage, match=r"^it: 16-bit values from .*, as in --set white=16383$"):
        rgb(png16(values), "it", Decoding())


def test_32_bits_without_sign() -> None:
    values = np.array([[0, 2**31 - 1], [2**31, 2**32 - 1]], np.uint32)
    for limits in ((0.0, 2.0**32 - 1), None):
        decoding = limits and Decoding(ranges={"int32": limits})
        assert rgb(tiff(values), "it", decoding).pixels()[..., 0].tolist() == [[0, 127], [128, 255]]


def test_large_values_are_not_cut_off_in_silence() -> None:
    wide = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.float32)
    image = rgb(pillow_tiff(wide), "it", Decoding(ranges={"float32": (0.0, 65535.0)}))
    assert np.abs(image.pixels()[..., 0] - np.arange(256).reshape(16, 16)).max() <= 1
    with pytest.raises(BadImage, match="do not fit"):
        rgb(pillow_tiff(GREY.astype(np.int32) * 1000), "it", Decoding(ranges={"int32": (0.0, 65535.0)}))


def white_is_zero(content: bytes) -> bytes:
    """A little-endian TIFF of `tiff` whose zeros are white."""
    entry = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert content.count(entry) == 1
    return content.replace(entry, struct.pack("<HHIHH", 262, 3, 1, 0, 0))


@pytest.mark.parametrize(
    ("values", "kind", "limits"),
    [
        (GREY.astype(np.uint16) * 257, "uint16", (0.0, 65535.0)),
        (as_12_bits(GREY), "uint16", (0.0, 4095.0)),
        ((GREY / 255).astype(np.float32), "float32", (0.0, 1.0)),
    ],
)
def test_white_is_zero(values: np.ndarray, kind: str, limits: tuple[float, float]) -> None:
    content = white_is_zero(tiff(values))
    assert np.array_equal(rgb(content, "it", Decoding(ranges={kind: limits})).pixels(), in_rgb(255 - GREY))
    assert np.array_equal(rgb(content, "it").pixels(), in_rgb(255 - GREY))
    eight = white_is_zero(tiff(GREY))
    assert np.array_equal(rgb(eight, "it", Decoding()).pixels(), in_rgb(255 - GREY))  # by Pillow


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(np.zeros((4, 4))), r"a TIFF with 64-bit floats \(1 channel\)"),
        (tiff(np.zeros((4, 4), np.float16)), r"a TIFF with 16-bit floats \(1 channel\)"),
        (tiff(np.zeros((4, 4, 3), np.float32)), r"a TIFF with 32-bit floats \(3 channels\)"),
        (tiff(np.zeros((4, 4), np.uint32), ">"), r"32-bit unsigned integers \(1 channel, big-endian\)"),
        (white_is_zero(tiff(GREY.astype(np.uint32))), r"unsigned integers \(1 channel, 0 is white\)"),
        (big_tiff(64, 3), r"a TIFF with 64-bit floats \(1 channel\)"),
        (b"PF\n4 4\n-1.0\n" + bytes(192), "a colour PFM"),
    ],
)
def test_what_is_not_supported_is_named(content: bytes, words: str) -> None:
    with pytest.raises(
        BadImage, match=f"^it: .*{words}.*not supported; convert it to grey .* with 8 or 16 bits"
    ):
        rgb(content, "it")
    with pytest.raises(BadImage, match=words):
        header(content, "it")
