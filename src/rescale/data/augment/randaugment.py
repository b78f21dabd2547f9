"""RandAugment (Cubuk et al. 2019) as the ResNet-RS authors run it."""

from dataclasses import dataclass, field

import numpy as np

from rescale.data.augment.levels import NAMES, Constants, apply

TRANSLATE, CUTOUT = 100.0, 40.0  # pixels at level 10
STRONGEST = 10.0


def drawn_magnitude(
    magnitude: float, probability: float, noise: float, rng: np.random.Generator
) -> float | None:
    """The magnitude of one operation, or None if it is left out. Draws only what is not fixed.

    Args:
        magnitude: level of the operation; nominally 0 to 10.
        probability: of applying it, in [0, 1].
        noise: standard deviation of a normal magnitude, which then stays in 0 to 10 (timm); 0: a fixed one.
        rng: source of randomness.
    """
    if probability < 1 and rng.random() >= probability:
        return None
    return min(max(rng.normal(magnitude, noise), 0.0), STRONGEST) if noise else magnitude


@dataclass(frozen=True)
class RandAugment:
    """Applies `layers` of sixteen operations, drawn uniformly with replacement.

    Args:
        layers: number of operations per image.
        magnitude: level of the operations; nominally 0 to 10, larger values are not clipped.
        resolution: side of the images in pixels.
        small_images: `scaled` reduces pixel constants in proportion below 160 pixels, `as-published` keeps
            them.
        probability, noise: of each operation and of its magnitude, as in `drawn_magnitude`.
    """

    layers: int
    magnitude: float
    resolution: int
    small_images: str = "scaled"
    probability: float = 1.0
    noise: float = 0.0
    constants: Constants = field(init=False)

    def __post_init__(self) -> None:
        constants = Constants.for_resolution(self.resolution, self.small_images, TRANSLATE, CUTOUT)
        object.__setattr__(self, "constants", constants)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for choice in rng.integers(len(NAMES), size=self.layers):
            magnitude = drawn_magnitude(self.magnitude, self.probability, self.noise, rng)
            if magnitude is not None:
                pixels = apply(NAMES[choice], pixels, magnitude, self.constants, rng)
        return pixels
