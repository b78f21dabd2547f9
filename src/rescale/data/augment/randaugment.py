"""RandAugment (Cubuk et al. 2019) as the ResNet-RS authors run it."""

from dataclasses import dataclass, field

import numpy as np

from rescale.data.augment.levels import NAMES, Constants, apply

TRANSLATE, CUTOUT = 100.0, 40.0  # pixels at level 10


@dataclass(frozen=True)
class RandAugment:
    """`layers` operations of sixteen, drawn evenly and with replacement, each always applied.

    magnitude: level of all of them, of 10 and not cut off there. small_images: `scaled`, pixel constants
    in proportion below 160 pixels, or `as-published`.
    """

    layers: int
    magnitude: float
    resolution: int
    small_images: str = "scaled"
    constants: Constants = field(init=False)

    def __post_init__(self) -> None:
        made = Constants.made_for(self.resolution, self.small_images, TRANSLATE, CUTOUT)
        object.__setattr__(self, "constants", made)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for choice in rng.integers(len(NAMES), size=self.layers):
            pixels = apply(NAMES[choice], pixels, self.magnitude, self.constants, rng)
        return pixels
