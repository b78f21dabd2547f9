"""Resizing against torchvision's (on Pillow) and TensorFlow's (scripts/make_golden_resize.py)."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resized_crop

from rescale.data.augment.crops import Box
from rescale.data.augment.resize import resized, tf1_bicubic

GOLDEN = np.load(Path(__file__).parent / "golden" / "resize.npz")
PICTURE = Image.fromarray(GOLDEN["input"])  # 70 pixels wide, 50 high


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("box", [Box(0, 0, 70, 50), Box(3, 5, 41, 30), Box(60, 49, 10, 1), Box(9, 9, 24, 24)])
@pytest.mark.parametrize("size", [24, 64])
def test_pillows_filters_are_torchvisions(interpolation: str, box: Box, size: int) -> None:
    expected = resized_crop(
        PICTURE, box.top, box.left, box.height, box.width, [size, size], InterpolationMode(interpolation)
    )
    assert np.array_equal(resized(PICTURE, box, size, interpolation), expected)


@pytest.mark.parametrize("size", [24, 64])
def test_tf1_bicubic_is_tensorflows(size: int) -> None:
    expected = GOLDEN[f"to_{size}"]  # not rounded
    assert np.abs(tf1_bicubic(GOLDEN["input"], size).astype(float) - expected).max() <= 0.51
    assert np.array_equal(
        resized(PICTURE, Box(0, 0, 70, 50), size, "tf1-bicubic"), tf1_bicubic(GOLDEN["input"], size)
    )


def test_tf1_bicubic_is_not_pillows() -> None:
    pillows = np.asarray(PICTURE.resize((24, 24), Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(GOLDEN["to_24"] - pillows).mean() > 3  # of 255 levels


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "tf1-bicubic"])
def test_nothing_outside_the_box_is_looked_at(interpolation: str) -> None:
    pixels = np.full((40, 40, 3), 255, dtype=np.uint8)
    pixels[10:30, 5:25] = 7
    found = np.asarray(resized(Image.fromarray(pixels), Box(5, 10, 20, 20), 13, interpolation))
    assert found.shape == (13, 13, 3) and (found == 7).all()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "tf1-bicubic"])
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (200, 2)])
def test_extreme_images(interpolation: str, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (9, 180, 60))
    found = np.asarray(resized(image, Box(0, 0, *size), 33, interpolation))
    assert found.shape == (33, 33, 3) and (found == (9, 180, 60)).all()


def test_a_box_of_the_right_size_is_left_as_it_is() -> None:
    found = resized(PICTURE, Box(2, 3, 24, 24), 24, "tf1-bicubic")
    assert np.array_equal(found, GOLDEN["input"][3:27, 2:26])
