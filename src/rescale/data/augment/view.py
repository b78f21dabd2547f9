"""Views: crop box, output size and mirroring of an image.

A view is drawn once per sample and applied to all that the sample holds, such as an image and its mask.
"""

from typing import NamedTuple

import numpy as np

from rescale.data.augment.crops import Box, centre_box, random_box
from rescale.data.augment.resize import mirrored, resized
from rescale.data.source import LazyImage
from rescale.recipes import Recipe


class View(NamedTuple):
    """A box of an image, resized to `resolution` pixels per side and optionally mirrored left to right."""

    box: Box
    resolution: int
    mirror: bool = False

    def of(self, image: LazyImage, interpolation: str) -> np.ndarray:
        """Apply the view: uint8 [R, R, 3]. Rows below the box are not decoded."""
        pixels = image.decode(self.box.top + self.box.height)
        pixels = resized(pixels, self.box, self.resolution, interpolation)
        return mirrored(pixels) if self.mirror else pixels


def training_view(recipe: Recipe, size: tuple[int, int], resolution: int, rng: np.random.Generator) -> View:
    """Draw a random view as the recipe specifies. size: width and height of the image."""
    box = None
    if recipe.crop == "random-resized":
        area = (recipe.crop_area_min, recipe.crop_area_max)
        box = random_box(*size, rng, area, (recipe.crop_ratio, 1 / recipe.crop_ratio))
    box = box or centre_box(*size, resolution, recipe.eval_crop)
    return View(box, resolution, mirror=bool(recipe.flip) and rng.random() < recipe.flip)


def centre_view(size: tuple[int, int], resolution: int, share: float) -> View:
    """The centre square, about `share` of the shorter side. size: width and height of the image."""
    return View(centre_box(*size, resolution, share), resolution)
