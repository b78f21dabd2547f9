"""Every kind of image becomes RGB; every kind of damage one line with the file's name."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_files import pixels
from rescale.data.decode import rgb
from rescale.data.source import BadImage

RAMP = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (8, 1))  # 8 x 16


def save(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def array(encoded: bytes) -> np.ndarray:
    return rgb(encoded, "it").pixels()


COLOUR = Image.fromarray(pixels(0))
KINDS = {
    "png": save(COLOUR),
    "jpeg": save(COLOUR, "JPEG"),
    "progressive": save(COLOUR, "JPEG", progressive=True),
    "cmyk": save(COLOUR.convert("CMYK"), "JPEG"),
    "webp": save(COLOUR, "WEBP"),
    "gif": save(COLOUR, "GIF"),
    "bmp": save(COLOUR, "BMP"),
    "tiff": save(COLOUR, "TIFF", compression="tiff_lzw"),
    "palette": save(COLOUR.quantize()),
    "grey 16": save(Image.fromarray(RAMP.astype(np.uint16) * 257)),
}


def test_grey_is_repeated() -> None:
    for image in (Image.fromarray(RAMP), Image.fromarray(RAMP).convert("LA")):
        assert (array(save(image)) == RAMP[..., None]).all()
    assert (array(save(Image.fromarray(RAMP > 100))) == (RAMP > 100)[..., None] * 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_keep_their_range(kind: str) -> None:
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert (array(save(image, kind)) == RAMP[..., None]).all()


def test_cmyk_becomes_colour() -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0)).convert("CMYK")
    assert (np.abs(array(save(red, "JPEG", quality=100)).astype(int) - (255, 0, 0)) < 4).all()


def test_transparency_is_dropped_without_a_warning() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (array(save(clear)) == (10, 20, 30)).all()
        assert (array(save(palette, transparency=b"\x00\x80")) == (10, 20, 30)).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    moving = save(first, kind, save_all=True, append_images=[second], **options)
    assert Image.open(io.BytesIO(moving)).n_frames == 2
    assert (array(moving) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty file"),
        (bytes(500), "not an image"),
        (b"<!DOCTYPE html><p>Not found", "not an image .*DOCTYPE"),
        (b"%PDF-1.4 and more of that", "not an image"),
    ],
)
def test_what_is_no_image_is_named_with_how_it_begins(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(content)
    for given_as in (content, file):
        with pytest.raises(BadImage, match=f"^{file}: .*{reason}") as caught:
            rgb(given_as, str(file))
        assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_bad_image(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=r"a\.png: No such file"):
        rgb(tmp_path / "a.png", "a.png")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bmp"])
def test_half_an_image_is_a_bad_image(kind: str) -> None:
    with pytest.raises(BadImage, match=r"^it: \S"):
        rgb(KINDS[kind][: len(KINDS[kind]) // 2], "it")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    st.floats(0, 1),
)
@pytest.mark.filterwarnings("ignore")
def test_damage_never_escapes_as_anything_else(kind: str, flips: list[tuple[float, int]], cut: float) -> None:
    damaged = bytearray(KINDS[kind])
    for place, value in flips:
        damaged[int(place * (len(damaged) - 1))] = value
    try:
        image = rgb(bytes(damaged[: int(cut * len(damaged)) + len(damaged) // 2]), "it")
        assert image.pixels().shape == (image.height, image.width, 3)
    except BadImage as error:
        assert str(error).startswith("it: ") and "\n" not in str(error)
