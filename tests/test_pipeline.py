"""The transforms from an image to the network's input."""

import pickle
import random

import numpy as np
import pytest
import torch

from rescale.data import Draw, LazyImage
from rescale.data.augment import eval_transform, train_transform
from rescale.data.augment.autoaugment import AutoAugment
from rescale.data.augment.crops import Box
from rescale.data.augment.pipeline import policy
from rescale.data.augment.randaugment import RandAugment
from rescale.data.augment.resize import resized
from rescale.data.augment.torchvision_policy import TorchvisionRandAugment
from rescale.data.augment.view import training_view
from rescale.recipes import Recipe

POLICIES = ["none", "randaugment", "randaugment-torchvision", "autoaugment"]


def picture(size: tuple[int, int]) -> LazyImage:
    return LazyImage.of(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def as_tensor(image: LazyImage) -> torch.Tensor:
    return torch.from_numpy(image.pixels()).permute(2, 0, 1)


@pytest.mark.parametrize("augment", POLICIES)
@pytest.mark.parametrize("size", [(1, 1), (300, 2), (40, 31)])
def test_any_image_goes_through(augment: str, size: tuple[int, int]) -> None:
    recipe = Recipe(augment=augment, randaugment_magnitude=15.0)
    for resolution in (8, 33):
        transform = pickle.loads(pickle.dumps(train_transform(recipe, resolution)))
        for seed in range(12):
            trained = transform(picture(size), np.random.default_rng(seed))
            assert trained.shape == (3, resolution, resolution) and trained.dtype == torch.uint8
        evaluated = pickle.loads(pickle.dumps(eval_transform(recipe, resolution)))(picture(size), None)
        assert evaluated.shape == (3, resolution, resolution) and evaluated.dtype == torch.uint8


@pytest.mark.parametrize("augment", POLICIES)
def test_the_rng_alone_decides(augment: str) -> None:
    transform, image = train_transform(Recipe(augment=augment), 16), picture((24, 20))
    results = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        np.random.seed(outside)
        random.seed(outside)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        results.append([transform(image, np.random.default_rng(seed)) for seed in range(20)])
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1] and random.getstate() == before[2]
    assert torch.equal(torch.stack(results[0]), torch.stack(results[1]))
    assert len({output.numpy().tobytes() for output in results[0]}) > 10


def test_flip_only() -> None:
    image = picture((16, 16))
    transform = train_transform(Recipe(crop="centre", eval_crop=1.0, flip=0.5), 16)
    outputs = [transform(image, np.random.default_rng(seed)) for seed in range(400)]
    flipped = sum(torch.equal(output, as_tensor(image).flip(2)) for output in outputs)
    unchanged = sum(torch.equal(output, as_tensor(image)) for output in outputs)
    assert flipped + unchanged == 400 and 160 < flipped < 240


def test_without_randomness_training_equals_evaluation() -> None:
    recipe, image = Recipe(crop="centre", flip=0.0), picture((50, 30))
    trained = train_transform(recipe, 20)(image, np.random.default_rng(0))
    assert torch.equal(trained, eval_transform(recipe, 20)(image, np.random.default_rng(1)))
    centre = resized(image.pixels(), Box(12, 2, 26, 26), 20, "bicubic")  # 30 x 20 / 23
    assert torch.equal(trained, as_tensor(LazyImage.of(centre)))


def test_the_recipes_areas_and_ratio_are_used() -> None:
    y, x = np.mgrid[0:200, 0:200].astype(np.uint8)
    image = LazyImage.of(np.stack([x, y, x], -1))  # the colour encodes the position
    recipe = Recipe(
        crop_area_min=0.24, crop_area_max=0.26, crop_ratio=1.0, flip=0.0, interpolation="bilinear"
    )
    transform = train_transform(recipe, 50)
    for seed in range(20):
        output = transform(image, np.random.default_rng(seed)).int()
        for channel, axis in ((0, 1), (1, 0)):
            along = output[channel].float().mean(1 - axis)
            assert float(along[-1] - along[0]) == pytest.approx(98, abs=5)  # half the side, less a pixel


def test_the_recipes_policy_is_used() -> None:
    def policy_of(augment: str) -> object:
        recipe = Recipe(
            augment=augment, randaugment_layers=3, randaugment_magnitude=7.0, small_images="as-published"
        )
        return policy(recipe, 48)

    assert policy_of("none") is None
    assert policy_of("randaugment") == RandAugment(3, 7.0, 48, "as-published")
    assert policy_of("randaugment-torchvision") == TorchvisionRandAugment(3, 7.0)
    assert policy_of("autoaugment") == AutoAugment(48, "as-published")
    assert TorchvisionRandAugment(3, 7.0).policy.magnitude == 21  # of 0..30
    assert TorchvisionRandAugment(2, 15.0).policy.magnitude == 30


def test_each_view_of_a_sample_has_its_own_generator() -> None:
    """The first is seeded by (seed, epoch, index, 2), view v by (seed, epoch, index, 2, v)."""
    draw = Draw(7, 3, 11)
    for view, words in {0: (7, 3, 11, 2), 1: (7, 3, 11, 2, 1), 5: (7, 3, 11, 2, 5)}.items():
        assert draw.rng(view).random() == np.random.default_rng(words).random()
    assert len({draw.rng(view).random() for view in range(4)}) == 4


def test_a_view_is_drawn_once_and_applied_alike() -> None:
    """Two maps of a sample, such as an image and its mask, are cropped, resized and mirrored alike."""
    recipe, image = Recipe(flip=0.5), picture((60, 44))
    pixels = image.pixels()
    mask = LazyImage.of(pixels.copy())
    mirrored = set()
    for index in range(20):
        view = training_view(recipe, image.size, 32, Draw(0, 0, index).rng())
        assert np.array_equal(view.of(image, "bilinear"), view.of(mask, "bilinear"))
        box, straight = view.box, view._replace(mirror=False)
        left = straight.of(image, "bilinear")
        assert np.array_equal(view.of(image, "bilinear"), left[:, ::-1] if view.mirror else left)
        assert box.left >= 0 and box.left + box.width <= 60 and box.top >= 0 and box.top + box.height <= 44
        mirrored.add(view.mirror)
    assert mirrored == {False, True}
