"""RandAugment, AutoAugment and torchvision's RandAugment: levels, draws, small images."""

import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from rescale.data.augment import levels
from rescale.data.augment.autoaugment import AutoAugment
from rescale.data.augment.levels import NAMES, Constants
from rescale.data.augment.randaugment import RandAugment
from rescale.data.augment.torchvision_policy import TorchvisionRandAugment

GOLDEN = Path(__file__).parent / "golden"
LEVELS = json.loads((GOLDEN / "levels.json").read_text())  # scripts/make_golden_augment.py


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


class Fixed:
    """A fake random generator that always takes the positive sign."""

    def random(self) -> float:
        return 0.9

    def integers(self, n: int) -> int:
        return n // 2


def arguments(monkeypatch, name: str, level: float, constants: Constants) -> tuple:
    """The arguments of an operation at a level."""
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
    published = Constants.for_resolution(160, "scaled", 100, 40)
    for level, expected in ((10, at_10), (15, at_15)):
        first, *rest = arguments(monkeypatch, name, level, published)
        assert first == pytest.approx(expected[0]) and tuple(rest) == expected[1:]


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_the_authors(monkeypatch, name: str) -> None:
    published = Constants.for_resolution(160, "scaled", 100, 40)
    for level, expected in LEVELS[name].items():
        argument = arguments(monkeypatch, name, float(level), published)[0]
        assert argument == pytest.approx(expected % 256 if name == "Solarize" else expected)


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", NAMES)
def test_levels_up_to_30(name: str, size: int) -> None:
    """The largest magnitude a recipe takes; EfficientNet-B7's is 28."""
    constants, image = Constants.for_resolution(size, "scaled", 100, 40), picture((size, size))
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for level in (0, 9.5, 23.2, 23.3, 28, 30):
            for seed in range(3):
                pixels = levels.apply(name, image, level, constants, np.random.default_rng(seed))
                assert pixels.shape == image.shape and pixels.dtype == np.uint8


@pytest.mark.parametrize("level", [10, 15, 20, 23.2, 23.3, 28, 30])
def test_operations_on_values_in_wide_integers(level: float) -> None:
    """The levels above 10, computed in integers that cannot overflow."""
    constants, image = Constants.for_resolution(224, "scaled", 100, 40), picture((224, 224))
    wide, rng = image.astype(np.int64), np.random.default_rng(0)

    def done(name: str) -> np.ndarray:
        return levels.apply(name, image, level, constants, rng)

    added = np.where(wide < 128, (wide + int(110 * level / 10)).clip(0, 255), wide)
    assert np.array_equal(done("SolarizeAdd"), added)
    bits = min(8, int(4 * level / 10))
    assert np.array_equal(done("Posterize"), wide >> (8 - bits) << (8 - bits))
    threshold = int(256 * level / 10) % 256
    assert np.array_equal(done("Solarize"), np.where(wide < threshold, wide, 255 - wide))
    brighter = np.trunc((wide * (0.1 + 1.8 * level / 10)).clip(0, 255))
    assert np.abs(done("Brightness") - brighter).max() <= 1  # single precision


def test_small_images_get_constants_in_proportion(monkeypatch) -> None:
    small = Constants.for_resolution(32, "scaled", 100, 40)
    assert (small.translate, small.cutout, small.quirks) == (20, 8, False)
    assert arguments(monkeypatch, "Solarize", 10, small) == (256,)  # no wrap: nothing is inverted
    assert arguments(monkeypatch, "Contrast", 10, small)[1] is True
    literal = Constants.for_resolution(32, "as-published", 100, 40)
    assert (literal.translate, literal.cutout, literal.quirks) == (100, 40, True)


def wiped(resolution: int, small_images: str, images: int = 1500) -> float:
    """Share of pictures that two operations at level 10 turn into a single colour."""
    policy, image = RandAugment(2, 10, resolution, small_images), picture((resolution, resolution))
    outputs = (policy(image, np.random.default_rng(i)) for i in range(images))
    return sum((pixels == pixels[0, 0]).all() for pixels in outputs) / images


@pytest.mark.parametrize(("resolution", "share"), [(8, 0.34), (32, 0.34), (64, 0.25)])
def test_published_constants_wipe_small_images_out_and_scaled_ones_do_not(
    resolution: int, share: float
) -> None:
    assert wiped(resolution, "as-published") == pytest.approx(share, abs=0.04)  # three deviations
    assert wiped(resolution, "scaled") < 0.015  # the rest: two translations in the same direction


def test_images_of_the_authors_size_are_not_wiped_out_and_treated_alike() -> None:
    assert wiped(160, "as-published", 300) < 0.02
    scaled, published = RandAugment(2, 15, 160, "scaled"), RandAugment(2, 15, 160, "as-published")
    assert scaled.constants == published.constants


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
    first = [policy(image, np.random.default_rng(i)) for i in range(20)]
    torch.manual_seed(6)
    copy = pickle.loads(pickle.dumps(policy))
    second = [copy(image, np.random.default_rng(i)) for i in range(20)]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({a.tobytes() for a in first}) > 5
    torch.set_rng_state(state)


def test_torchvisions_policy_leaves_the_default_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    TorchvisionRandAugment(2, 10)(picture((16, 16)), np.random.default_rng(0))
    assert torch.equal(torch.rand(3), expected)
