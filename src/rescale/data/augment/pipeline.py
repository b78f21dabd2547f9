"""From an image to what the network sees, in training and in evaluation."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rescale.data.augment.autoaugment import AutoAugment
from rescale.data.augment.crops import Box, centre_box, random_box
from rescale.data.augment.randaugment import RandAugment
from rescale.data.augment.resize import mirrored, resized
from rescale.data.augment.torchvision_policy import TorchvisionRandAugment
from rescale.data.source import LazyImage
from rescale.recipes import Recipe

Policy = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class TrainTransform:
    """Random crop, resize, mirror image, policy: (picture, rng) -> uint8 [3, R, R]."""

    resolution: int
    recipe: Recipe
    policy: Policy | None

    def __call__(self, image: LazyImage, rng: np.random.Generator) -> Tensor:
        recipe = self.recipe
        box = None
        if recipe.crop == "random-resized":
            area = (recipe.crop_area_min, recipe.crop_area_max)
            box = random_box(*image.size, rng, area, (recipe.crop_ratio, 1 / recipe.crop_ratio))
        box = box or centre_box(*image.size, self.resolution, recipe.eval_crop)
        pixels = seen(image, box, self.resolution, recipe.interpolation)
        if recipe.flip and rng.random() < recipe.flip:
            pixels = mirrored(pixels)
        return to_tensor(self.policy(pixels, rng) if self.policy else pixels)


@dataclass(frozen=True)
class EvalTransform:
    """The centre, resized: (picture, rng, not used) -> uint8 [3, R, R]."""

    resolution: int
    share: float
    interpolation: str

    def __call__(self, image: LazyImage, _: np.random.Generator) -> Tensor:
        box = centre_box(*image.size, self.resolution, self.share)
        return to_tensor(seen(image, box, self.resolution, self.interpolation))


def train_transform(recipe: Recipe, resolution: int) -> TrainTransform:
    """What a resolved recipe does to a training image."""
    return TrainTransform(resolution, recipe, policy(recipe, resolution))


def eval_transform(recipe: Recipe, resolution: int) -> EvalTransform:
    """What a resolved recipe does to an image in evaluation."""
    return EvalTransform(resolution, recipe.eval_crop, recipe.interpolation)


def policy(recipe: Recipe, resolution: int) -> Policy | None:
    """The recipe's augmentation after crop and flip, if it has one."""
    layers, magnitude = recipe.randaugment_layers, float(recipe.randaugment_magnitude)
    if recipe.augment == "randaugment":
        return RandAugment(layers, magnitude, resolution, recipe.small_images)
    if recipe.augment == "randaugment-torchvision":
        return TorchvisionRandAugment(layers, magnitude)
    if recipe.augment == "autoaugment":
        return AutoAugment(resolution, recipe.small_images)
    if recipe.augment != "none":
        raise ValueError(f"augment is still the rule {recipe.augment!r}; resolve the recipe first")
    return None


def seen(image: LazyImage, box: Box, resolution: int, interpolation: str) -> np.ndarray:
    """The box of a picture, resized: uint8 [R, R, 3]. What lies below the box is not decoded."""
    return resized(image.pixels(box.top + box.height), box, resolution, interpolation)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """[H, W, 3] -> [3, H, W]; the memory stays as it is, channels last."""
    return torch.from_numpy(pixels).permute(2, 0, 1)
