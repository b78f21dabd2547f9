"""RandAugment (Cubuk et al. 2019) as the ResNet-RS authors run it."""

from dataclasses import dataclass, field

import numpy as np

from rescale.data.augment.levels import NAMES, Constants, apply

TRANSLATE, CUTOUT = 100.0, 40.0  # pixels at level 10


@dataclass(frozen=True)
class RandAugment:
    """Applies `layers` of sixteen operations, drawn uniformly with replacement.

    Args:
        layers: number of operations per image.
        magnitude: level of the operations; nominally 0 to 10, larger values are not clipped.
        resolution: side of the images in pixels.
        small_images: `scaled` reduces pixel constants in proportion below 160 pixels, `as-published` keeps
            them.
    """

    layers: int
    magnitude: float
    resolution: int
    small_images: str = "scaled"
    constants: Constants = field(init=False)

    def __post_init__(self) -> None:
        constants = Constants.for_resolution(self.resolution, self.small_images, TRANSLATE, CUTOUT)
        object.__setattr__(self, "constants", constants)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for choice in rng.integers(len(NAMES), size=self.layers):
            pixels = apply(NAMES[choice], pixels, self.magnitude, self.constants, rng)
        return pixels
