"""One geometric draw: which part of an image is seen, at which size, mirrored or not.

A view is drawn once for a sample and applied to whatever the sample holds.
"""

from typing import NamedTuple

import numpy as np

from rescale.data.augment.crops import Box, centre_box, random_box
from rescale.data.augment.resize import mirrored, resized
from rescale.data.source import LazyImage
from rescale.recipes import Recipe


class View(NamedTuple):
    """The part `box` of an image, resized to `resolution` pixels a side, mirrored left to right or not."""

    box: Box
    resolution: int
    mirror: bool = False

    def of(self, image: LazyImage, interpolation: str) -> np.ndarray:
        """uint8 [R, R, 3]: the image as the view shows it. What lies below the box is not decoded."""
        pixels = image.pixels(self.box.top + self.box.height)
        pixels = resized(pixels, self.box, self.resolution, interpolation)
        return mirrored(pixels) if self.mirror else pixels


def training_view(recipe: Recipe, size: tuple[int, int], resolution: int, rng: np.random.Generator) -> View:
    """A random view of an image of `size` (width, height), as a recipe draws them."""
    box = None
    if recipe.crop == "random-resized":
        area = (recipe.crop_area_min, recipe.crop_area_max)
        box = random_box(*size, rng, area, (recipe.crop_ratio, 1 / recipe.crop_ratio))
    box = box or centre_box(*size, resolution, recipe.eval_crop)
    return View(box, resolution, mirror=bool(recipe.flip) and rng.random() < recipe.flip)


def centre_view(size: tuple[int, int], resolution: int, share: float) -> View:
    """The centre of an image of `size` (width, height), about `share` of its shorter side."""
    return View(centre_box(*size, resolution, share), resolution)
