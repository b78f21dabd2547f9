"""The transforms from an image to the input of a network, for training and evaluation."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rescale.data.augment.autoaugment import AutoAugment
from rescale.data.augment.erasing import RandomErasing
from rescale.data.augment.randaugment import RandAugment
from rescale.data.augment.torchvision_policy import TorchvisionRandAugment
from rescale.data.augment.view import centre_view, training_view
from rescale.data.source import LazyImage
from rescale.recipes import Recipe

Policy = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Channels = tuple[float, float, float]
_MIDDLE = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class TrainTransform:
    """Random crop and flip, the augmentation policy, random erasing: (image, rng) -> uint8 [3, R, R]."""

    resolution: int
    recipe: Recipe
    policy: Policy | None
    erasing: Policy | None = None

    def __call__(self, image: LazyImage, rng: np.random.Generator) -> Tensor:
        view = training_view(self.recipe, image.size, self.resolution, rng)
        pixels = view.of(image, self.recipe.interpolation)
        for change in (self.policy, self.erasing):
            if change is not None:
                pixels = change(pixels, rng)
        return to_tensor(pixels)


@dataclass(frozen=True)
class EvalTransform:
    """Centre crop: image -> uint8 [3, R, R]. A generator is accepted but not used."""

    resolution: int
    share: float
    interpolation: str

    def __call__(self, image: LazyImage, _: np.random.Generator | None = None) -> Tensor:
        return to_tensor(centre_view(image.size, self.resolution, self.share).of(image, self.interpolation))


def train_transform(
    recipe: Recipe, resolution: int, mean: Channels = _MIDDLE, std: Channels = _MIDDLE
) -> TrainTransform:
    """The transform of training images for a resolved recipe.

    Args:
        recipe: whose crop, flip, policy and random erasing are applied.
        resolution: side in pixels.
        mean, std: of the data's channels, for pixels in 0..1; erased boxes get such noise.
    """
    probability = recipe.random_erasing
    erasing = RandomErasing(probability, mean, std) if probability else None
    return TrainTransform(resolution, recipe, policy(recipe, resolution), erasing)


def eval_transform(recipe: Recipe, resolution: int) -> EvalTransform:
    """The transform of evaluation images for a resolved recipe. resolution: side in pixels."""
    return EvalTransform(resolution, recipe.eval_crop, recipe.interpolation)


def policy(recipe: Recipe, resolution: int) -> Policy | None:
    """The recipe's augmentation after crop and flip; None if it has none."""
    layers, magnitude = recipe.randaugment_layers, float(recipe.randaugment_magnitude)
    probability, noise = recipe.randaugment_chance, recipe.randaugment_noise
    if recipe.augment == "randaugment":
        return RandAugment(layers, magnitude, resolution, recipe.small_images, probability, noise)
    if recipe.augment == "randaugment-torchvision":
        return TorchvisionRandAugment(layers, magnitude, probability, noise)
    if recipe.augment == "autoaugment":
        return AutoAugment(resolution, recipe.small_images)
    if recipe.augment != "none":
        raise ValueError(f"augment is still the rule {recipe.augment!r}; resolve the recipe first")
    return None


def to_tensor(pixels: np.ndarray) -> Tensor:
    """[H, W, 3] -> [3, H, W], without a copy: the memory stays channels-last."""
    return torch.from_numpy(pixels).permute(2, 0, 1)
