"""Random crops against TensorFlow's with the authors' settings (scripts/make_golden_crops.py)."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescale.data.augment.crops import Box, centre_box, random_box

GOLDEN = json.loads((Path(__file__).parent / "golden" / "crops.json").read_text())


@pytest.mark.parametrize("image", GOLDEN, ids=lambda image: "x".join(map(str, image["size"])))
def test_spread_as_tensorflows(image: dict) -> None:
    width, height = image["size"]
    rng = np.random.default_rng(0)
    drawn = [random_box(width, height, rng) for _ in range(6000)]
    boxes = [box for box in drawn if box]
    samples = {
        "area": np.array([box.width * box.height / (width * height) for box in boxes]),
        "ratio": np.array([box.width / box.height for box in boxes]),
    }
    assert 1 - len(boxes) / len(drawn) == pytest.approx(image["whole"], abs=0.01)
    assert samples["area"].min() == pytest.approx(image["least"], rel=0.01)  # a tenth, not the requested .08
    for name, upto in image["upto"].items():
        for at, share in upto.items():  # four standard errors of 6,000 draws are .026
            assert (samples[name] <= float(at)).mean() == pytest.approx(share, abs=0.026), (name, at)


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([0.01, 0.08, 0.3]), st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_boxes_lie_inside_with_the_requested_area_and_ratio(w: int, h: int, least: float, seed: int) -> None:
    box = random_box(w, h, np.random.default_rng(seed), area=(least, 0.9), ratio=(0.5, 2))
    if box is None:
        return
    assert min(box) >= 0 and box.left + box.width <= w and box.top + box.height <= h
    assert least <= box.width * box.height / (w * h) <= 0.9
    assert abs(box.width - box.height * np.clip(box.width / box.height, 0.5, 2)) <= 0.5  # rounded to pixels


def test_a_smaller_area_than_the_authors_tenth_is_possible() -> None:
    rng = np.random.default_rng(0)
    boxes = [random_box(200, 200, rng, area=(0.02, 0.05)) for _ in range(50)]
    assert all(box and 0.02 <= box.width * box.height / 40_000 <= 0.05 for box in boxes)


def test_every_position_is_reached() -> None:
    rng = np.random.default_rng(0)
    boxes = [random_box(8, 8, rng) for _ in range(3000)]
    places = {box[:2] for box in boxes if box and (box.width, box.height) == (6, 6)}
    assert places == {(x, y) for x in range(3) for y in range(3)}


def test_a_box_of_the_whole_image_is_a_failure() -> None:
    assert random_box(1, 1, np.random.default_rng(0)) is None
    assert random_box(2000, 3, np.random.default_rng(0), area=(0.9, 1.0)) is None


def test_boxes_depend_on_the_rng_alone() -> None:
    first, again, other = (
        [random_box(60, 40, rng) for _ in range(5)] for rng in map(np.random.default_rng, (3, 3, 4))
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [  # side int(min x s / (s + round(s x (1 / .875 - 1)))), offset ((length - side) + 1) // 2, by hand
        (500, 375, 224, (86, 24, 328, 328)),
        (256, 256, 224, (16, 16, 224, 224)),
        (8, 8, 32, (1, 1, 6, 6)),
        (1, 1, 224, (0, 0, 1, 1)),
        (1000, 2, 160, (500, 1, 1, 1)),
    ],
)
def test_centre_box(width: int, height: int, size: int, expected: tuple[int, ...]) -> None:
    assert centre_box(width, height, size) == expected
    assert centre_box(width, height, size, share=1.0)[2:] == (min(width, height),) * 2


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600), st.floats(0.05, 1))
@settings(max_examples=200, deadline=None)
def test_centre_boxes_lie_in_the_middle(width: int, height: int, size: int, share: float) -> None:
    box: Box = centre_box(width, height, size, share)
    right, below = width - box.left - box.width, height - box.top - box.height
    assert box.width == box.height >= 1 and 0 <= box.left - right <= 1 and 0 <= box.top - below <= 1
    assert min(right, below) >= 0
