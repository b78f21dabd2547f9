"""The sixteen operations, pixel for pixel against the authors' code (scripts/make_golden_augment.py)."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rescale.data.augment import operations
from rescale.data.augment.autoaugment import V0
from rescale.data.augment.levels import NAMES

GOLDEN = Path(__file__).parent / "golden"
ARRAYS = np.load(GOLDEN / "augment.npz")
CALLS = json.loads(str(ARRAYS["calls"]))
PICTURES = [name.removeprefix("input/") for name in ARRAYS.files if name.startswith("input/")]


@pytest.mark.parametrize("call", CALLS)
def test_pixel_by_pixel(call: str) -> None:
    name, arguments = CALLS[call]
    for picture in PICTURES:
        before = ARRAYS[f"input/{picture}"]
        output = np.asarray(getattr(operations, name)(before, *arguments))
        expected = ARRAYS[f"{call}/{picture}"]
        assert np.array_equal(output, expected), (
            f"{picture}: {(output != expected).any(-1).mean():.2%} of pixels differ"
        )
        assert output.dtype == np.uint8


def test_golden_values_differ_from_the_inputs() -> None:
    changed = sum(
        not np.array_equal(ARRAYS[f"{call}/{picture}"], ARRAYS[f"input/{picture}"])
        for call in CALLS
        for picture in PICTURES
    )
    assert changed > 0.7 * len(CALLS) * len(PICTURES)  # most operations do something to most pictures


def test_every_operation_of_the_policies_is_covered() -> None:
    assert {name.replace("_", "") for name, _ in CALLS.values()} == {name.lower() for name in NAMES}


def test_autoaugment_v0_is_the_authors() -> None:
    expected = json.loads((GOLDEN / "autoaugment_v0.json").read_text())
    assert [[list(operation) for operation in pair] for pair in V0] == expected


def test_cutout() -> None:
    image = np.full((10, 20, 3), (1, 2, 3), dtype=np.uint8)
    output = np.asarray(operations.cutout(image, 4, (3, 9)))
    grey = (output == 128).all(-1)
    expected = np.zeros((10, 20), dtype=bool)
    expected[5:10, 0:7] = True  # rows 5..12 and columns -1..6, cut at the border
    assert np.array_equal(grey, expected) and (output[~grey] == (1, 2, 3)).all()
    assert np.array_equal(operations.cutout(image, 0, (3, 3)), image)


def test_contrast_by_the_true_mean() -> None:
    image = ARRAYS["input/noise"]
    flat = np.asarray(operations.contrast(image, 0.0, true_mean=True))
    grey = np.asarray(Image.fromarray(image).convert("L")).mean()
    assert len(np.unique(flat)) == 1 and abs(int(flat[0, 0, 0]) - grey) < 2


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 40), (40, 1)])
def test_tiny_images(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), (10, 200, 30), dtype=np.uint8)
    for call in CALLS.values():
        assert getattr(operations, call[0])(image, *call[1]).shape == image.shape
