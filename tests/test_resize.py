"""Resizing against Pillow's and TensorFlow's (scripts/make_golden_resize.py)."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rescale.data.augment.crops import Box
from rescale.data.augment.resize import mirrored, resized, tf1_bicubic

GOLDEN = np.load(Path(__file__).parent / "golden" / "resize.npz")
PICTURE = GOLDEN["input"]  # 70 pixels wide, 50 high
PILLOWS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def by_pillow(pixels: np.ndarray, box: Box, size: int, interpolation: str) -> np.ndarray:
    """Crop, then rows, then columns: the order that Pillow had before 13 (which chooses one by the shape)."""
    image = Image.fromarray(pixels).crop((box.left, box.top, box.left + box.width, box.top + box.height))
    image = image.resize((size, box.height), PILLOWS[interpolation])
    return np.asarray(image.resize((size, size), PILLOWS[interpolation]))


@pytest.mark.parametrize("interpolation", PILLOWS)
@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(0, 20), st.integers(1, 96), st.integers(0, 10**6)
)
@settings(max_examples=60, deadline=None)
def test_filters_are_pillows_within_two_levels(
    interpolation: str, width: int, height: int, margin: int, size: int, seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height + margin, width + margin, 3), dtype=np.uint8)
    box = Box(margin // 2, margin - margin // 2, width, height)
    ours = resized(noise, box, size, interpolation).astype(int)
    assert np.abs(ours - by_pillow(noise, box, size, interpolation)).max() <= 2  # seldom more than 1


@pytest.mark.parametrize("interpolation", PILLOWS)
@pytest.mark.parametrize("box", [Box(0, 0, 70, 50), Box(3, 5, 41, 30), Box(9, 9, 24, 24)])
@pytest.mark.parametrize("size", [24, 64])
def test_nearly_all_values_are_pillows(interpolation: str, box: Box, size: int) -> None:
    different = resized(PICTURE, box, size, interpolation) != by_pillow(PICTURE, box, size, interpolation)
    assert different.mean() < 0.06


def test_another_filter_differs() -> None:
    box = Box(0, 0, 70, 50)
    difference = resized(PICTURE, box, 24, "bicubic").astype(int) - by_pillow(PICTURE, box, 24, "bilinear")
    assert np.abs(difference).max() > 20


def test_mirrored() -> None:
    assert np.array_equal(mirrored(PICTURE), PICTURE[:, ::-1])


@pytest.mark.parametrize("size", [24, 64])
def test_tf1_bicubic_is_tensorflows(size: int) -> None:
    expected = GOLDEN[f"to_{size}"]  # not rounded
    assert np.abs(tf1_bicubic(GOLDEN["input"], size).astype(float) - expected).max() <= 0.51
    assert np.array_equal(
        resized(PICTURE, Box(0, 0, 70, 50), size, "tf1-bicubic"), tf1_bicubic(GOLDEN["input"], size)
    )


def test_tf1_bicubic_is_not_pillows() -> None:
    pillows = np.asarray(Image.fromarray(PICTURE).resize((24, 24), Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(GOLDEN["to_24"] - pillows).mean() > 3  # of 255 levels


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "tf1-bicubic"])
def test_pixels_outside_the_box_have_no_effect(interpolation: str) -> None:
    pixels = np.full((40, 40, 3), 255, dtype=np.uint8)
    pixels[10:30, 5:25] = 7
    output = resized(pixels, Box(5, 10, 20, 20), 13, interpolation)
    assert output.shape == (13, 13, 3) and (output == 7).all()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "tf1-bicubic"])
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (200, 2)])
def test_extreme_images(interpolation: str, size: tuple[int, int]) -> None:
    image = np.full((size[1], size[0], 3), (9, 180, 60), dtype=np.uint8)
    output = resized(image, Box(0, 0, *size), 33, interpolation)
    assert output.shape == (33, 33, 3) and (output == (9, 180, 60)).all()


def test_a_box_of_the_right_size_is_unchanged() -> None:
    output = resized(PICTURE, Box(2, 3, 24, 24), 24, "tf1-bicubic")
    assert np.array_equal(output, GOLDEN["input"][3:27, 2:26])
