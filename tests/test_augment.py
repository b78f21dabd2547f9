"""RandAugment, AutoAugment, crops, resizing and the whole pipeline."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rescale.data.augment import eval_transform, levels, mixup, train_transform
from rescale.data.augment.autoaugment import AutoAugment
from rescale.data.augment.crops import centre_box, random_box
from rescale.data.augment.levels import NAMES, Constants
from rescale.data.augment.randaugment import RandAugment
from rescale.data.augment.resize import tf1_bicubic
from rescale.data.augment.torchvision_policy import TorchvisionRandAugment
from rescale.recipes import Recipe

GOLDEN = Path(__file__).parent / "golden"
LEVELS = json.loads((GOLDEN / "levels.json").read_text())  # scripts/make_golden_augment.py


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


class Fixed:
    """A stand-in for randomness that always takes the positive sign."""

    def random(self) -> float:
        return 0.9

    def integers(self, n: int) -> int:
        return n // 2


def arguments(monkeypatch, name: str, level: float, constants: Constants) -> tuple:
    """What an operation is called with at a level."""
    seen = []
    function = {
        "AutoContrast": "auto_contrast",
        "SolarizeAdd": "solarize_add",
        "ShearX": "shear_x",
        "ShearY": "shear_y",
    }
    function |= {"TranslateX": "translate_x", "TranslateY": "translate_y"}
    monkeypatch.setattr(
        levels.op, function.get(name, name.lower()), lambda image, *a, **k: seen.append((*a, *k.values()))
    )
    levels.apply(name, picture((8, 8)), level, constants, Fixed())
    return seen[0]


@pytest.mark.parametrize(
    ("name", "at_10", "at_15"),
    [  # spec: levels of the authors' code, unclipped above 10
        ("Rotate", (30,), (45,)),
        ("Posterize", (4,), (6,)),
        ("Solarize", (0,), (128,)),  # wraps at 256
        ("Color", (1.9,), (2.8,)),
        ("Contrast", (1.9, False), (2.8, False)),
        ("Brightness", (1.9,), (2.8,)),
        ("Sharpness", (1.9,), (2.8,)),
        ("ShearX", (0.3,), (0.45,)),
        ("ShearY", (0.3,), (0.45,)),
        ("TranslateX", (100,), (150,)),
        ("TranslateY", (100,), (150,)),
        ("Cutout", (40, (4, 4)), (60, (4, 4))),
        ("SolarizeAdd", (110,), (165,)),
    ],
)
def test_levels(monkeypatch, name: str, at_10: tuple, at_15: tuple) -> None:
    published = Constants.made_for(160, "scaled", 100, 40)
    for level, expected in ((10, at_10), (15, at_15)):
        first, *rest = arguments(monkeypatch, name, level, published)
        assert first == pytest.approx(expected[0]) and tuple(rest) == expected[1:]


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_the_authors(monkeypatch, name: str) -> None:
    published = Constants.made_for(160, "scaled", 100, 40)
    for level, expected in LEVELS[name].items():
        found = arguments(monkeypatch, name, float(level), published)[0]
        assert found == pytest.approx(expected % 256 if name == "Solarize" else expected)


def test_small_images_get_constants_in_proportion(monkeypatch) -> None:
    small = Constants.made_for(32, "scaled", 100, 40)
    assert (small.translate, small.cutout, small.quirks) == (20, 8, False)
    assert arguments(monkeypatch, "Solarize", 10, small) == (256,)  # no wrap: nothing is inverted
    assert arguments(monkeypatch, "Contrast", 10, small)[1] is True
    literal = Constants.made_for(32, "as-published", 100, 40)
    assert (literal.translate, literal.cutout, literal.quirks) == (100, 40, True)


def wiped(resolution: int, small_images: str, images: int = 1500) -> float:
    """Share of pictures turned into one colour."""
    policy, image = RandAugment(2, 10, resolution, small_images), picture((resolution, resolution))
    found = (np.asarray(policy(image, np.random.default_rng(i))) for i in range(images))
    return sum((pixels == pixels[0, 0]).all() for pixels in found) / images


@pytest.mark.parametrize("resolution", [8, 32, 64])
def test_published_constants_wipe_small_images_out_and_scaled_ones_do_not(resolution: int) -> None:
    assert wiped(resolution, "as-published") > 0.2  # 34 % at 8 and 32, 25 % at 64 pixels
    assert wiped(resolution, "scaled") < 0.015  # two translations the same way


def test_every_operation_is_drawn_evenly(monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(
        "rescale.data.augment.randaugment.apply", lambda name, image, *_: drawn.append(name) or image
    )
    policy, rng = RandAugment(2, 10, 160), np.random.default_rng(0)
    for _ in range(4000):
        policy(picture((1, 1)), rng)
    counts = [drawn.count(name) for name in NAMES]
    assert len(NAMES) == 16 and sum(counts) == 8000
    assert sum((count - 500) ** 2 / 500 for count in counts) < 37.7  # chi-square, 15 degrees, p = .001


@pytest.mark.parametrize("policy", [RandAugment(2, 15, 32), AutoAugment(32), TorchvisionRandAugment(2, 10)])
def test_policies_depend_on_the_rng_alone(policy) -> None:
    image, state = picture((32, 32)), torch.get_rng_state()
    torch.manual_seed(5)
    first = [np.asarray(policy(image, np.random.default_rng(i))) for i in range(20)]
    torch.manual_seed(6)
    copy = pickle.loads(pickle.dumps(policy))
    second = [np.asarray(copy(image, np.random.default_rng(i))) for i in range(20)]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({a.tobytes() for a in first}) > 5
    torch.set_rng_state(state)


def test_torchvisions_policy_leaves_the_default_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    TorchvisionRandAugment(2, 10)(picture((16, 16)), np.random.default_rng(0))
    assert torch.equal(torch.rand(3), expected)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_random_boxes_lie_inside_and_have_the_asked_area_and_ratio(
    width: int, height: int, seed: int
) -> None:
    box = random_box(width, height, np.random.default_rng(seed))
    if box is None:
        return
    assert box.left >= 0 and box.left + box.width <= width and box.width > 0
    assert box.top >= 0 and box.top + box.height <= height and box.height > 0
    slack = 1 / min(box.width, box.height)  # sides are rounded to pixels
    assert 0.08 <= box.width * box.height / (width * height) <= 1
    assert 3 / 4 * (1 - 2 * slack) <= box.width / box.height <= 4 / 3 * (1 + 2 * slack)


def test_random_boxes_cover_areas_evenly() -> None:
    rng = np.random.default_rng(0)
    boxes = [random_box(400, 400, rng) for _ in range(4000)]
    areas = np.array([box.width * box.height / 160_000 for box in boxes if box])
    assert 0.075 < areas.min() < 0.1 and areas.max() > 0.95
    assert 0.35 < np.median(areas) < 0.5  # the authors' code draws the height, so large areas are rarer


def test_a_box_of_the_whole_image_is_a_failure() -> None:
    assert random_box(1, 1, np.random.default_rng(0)) is None
    assert random_box(2000, 3, np.random.default_rng(0), area=(0.9, 1.0)) is None


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [  # side = int(min x s / (s + round(s x (1 / .875 - 1)))), offset ((length - side) + 1) // 2
        (500, 375, 224, (86, 24, 328, 328)),
        (256, 256, 224, (16, 16, 224, 224)),
        (8, 8, 32, (1, 1, 6, 6)),
        (1, 1, 224, (0, 0, 1, 1)),
    ],
)
def test_centre_box(width: int, height: int, size: int, expected: tuple[int, ...]) -> None:
    side = int(min(width, height) * size / (size + round(size * (1 / 0.875 - 1))))
    assert centre_box(width, height, size) == expected and expected[2] == max(1, side)


def test_tf1_bicubic_is_tensorflows() -> None:
    golden = np.load(GOLDEN / "resize.npz")
    for size in (24, 64):
        difference = np.abs(tf1_bicubic(golden["input"], size).astype(float) - golden[f"to_{size}"])
        assert difference.max() <= 0.51  # the golden is not rounded
    assert (
        np.abs(golden["to_24"] - np.asarray(Image.fromarray(golden["input"]).resize((24, 24), 3))).mean() > 3
    )


@pytest.mark.parametrize("augment", ["none", "randaugment", "randaugment-torchvision", "autoaugment"])
@pytest.mark.parametrize("size", [(1, 1), (300, 2), (40, 31)])
def test_any_image_goes_through(augment: str, size: tuple[int, int]) -> None:
    recipe = Recipe(augment=augment, randaugment_magnitude=15.0)
    for resolution in (8, 33):
        transform = pickle.loads(pickle.dumps(train_transform(recipe, resolution)))
        for seed in range(12):
            found = transform(picture(size), np.random.default_rng(seed))
            assert found.shape == (3, resolution, resolution) and found.dtype == torch.uint8
            assert torch.equal(found, transform(picture(size), np.random.default_rng(seed)))
        assert eval_transform(recipe, resolution)(picture(size), None).shape == (3, resolution, resolution)


def test_flip_only() -> None:
    image = picture((16, 16))
    plain = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    recipe = Recipe(crop="centre", eval_crop=1.0, flip=0.5)
    transform = train_transform(recipe, 16)
    found = [transform(image, np.random.default_rng(seed)) for seed in range(400)]
    flipped = sum(torch.equal(each, plain.flip(2)) for each in found)
    assert flipped + sum(torch.equal(each, plain) for each in found) == 400 and 160 < flipped < 240


def test_mixup() -> None:
    images, labels = torch.eye(6), torch.arange(6)
    generator = torch.Generator().manual_seed(0)
    mixed, first, second, share = mixup(images, labels, 0.2, generator)
    expected = share * images + (1 - share) * images[second]
    assert (
        torch.allclose(mixed, expected)
        and torch.equal(first, labels)
        and sorted(second.tolist()) == list(range(6))
    )
    shares = np.array([mixup(images, labels, 0.2, generator)[3] for _ in range(3000)])
    assert abs(shares.mean() - 0.5) < 0.03
    assert abs(shares.var() - 1 / (4 * (2 * 0.2 + 1))) < 0.01  # variance of Beta(a, a)
    again = mixup(images, labels, 0.2, torch.Generator().manual_seed(0))
    assert again[3] == share and torch.equal(again[0], mixed)
