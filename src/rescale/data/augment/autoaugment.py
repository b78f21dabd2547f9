"""AutoAugment's policy v0 (Cubuk et al. 2018), as in the EfficientNet authors' code."""

from dataclasses import dataclass, field

import numpy as np

from rescale.data.augment.levels import Constants, apply

TRANSLATE, CUTOUT = 250.0, 100.0  # pixels at level 10; no sub-policy uses cutout

V0 = (  # each sub-policy is two operations: name, probability, level
    (("Equalize", 0.8, 1), ("ShearY", 0.8, 4)),
    (("Color", 0.4, 9), ("Equalize", 0.6, 3)),
    (("Color", 0.4, 1), ("Rotate", 0.6, 8)),
    (("Solarize", 0.8, 3), ("Equalize", 0.4, 7)),
    (("Solarize", 0.4, 2), ("Solarize", 0.6, 2)),
    (("Color", 0.2, 0), ("Equalize", 0.8, 8)),
    (("Equalize", 0.4, 8), ("SolarizeAdd", 0.8, 3)),
    (("ShearX", 0.2, 9), ("Rotate", 0.6, 8)),
    (("Color", 0.6, 1), ("Equalize", 1.0, 2)),
    (("Invert", 0.4, 9), ("Rotate", 0.6, 0)),
    (("Equalize", 1.0, 9), ("ShearY", 0.6, 3)),
    (("Color", 0.4, 7), ("Equalize", 0.6, 0)),
    (("Posterize", 0.4, 6), ("AutoContrast", 0.4, 7)),
    (("Solarize", 0.6, 8), ("Color", 0.6, 9)),
    (("Solarize", 0.2, 4), ("Rotate", 0.8, 9)),
    (("Rotate", 1.0, 7), ("TranslateY", 0.8, 9)),
    (("ShearX", 0.0, 0), ("Solarize", 0.8, 4)),
    (("ShearY", 0.8, 0), ("Color", 0.6, 4)),
    (("Color", 1.0, 0), ("Rotate", 0.6, 2)),
    (("Equalize", 0.8, 4), ("Equalize", 0.0, 8)),
    (("Equalize", 1.0, 4), ("AutoContrast", 0.6, 2)),
    (("ShearY", 0.4, 7), ("SolarizeAdd", 0.6, 7)),
    (("Posterize", 0.8, 2), ("Solarize", 0.6, 10)),  # the level means 0 bits; TensorFlow keeps 1
    (("Solarize", 0.6, 8), ("Equalize", 0.6, 1)),
    (("Color", 0.8, 6), ("Rotate", 0.4, 5)),
)


@dataclass(frozen=True)
class AutoAugment:
    """Applies one of 25 sub-policies, drawn uniformly; each of its operations has its own probability.

    Args:
        resolution: side of the images in pixels.
        small_images: how pixel constants apply below 160 pixels, `scaled` or `as-published`.
    """

    resolution: int
    small_images: str = "scaled"
    constants: Constants = field(init=False)

    def __post_init__(self) -> None:
        constants = Constants.for_resolution(self.resolution, self.small_images, TRANSLATE, CUTOUT)
        object.__setattr__(self, "constants", constants)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for name, probability, level in V0[rng.integers(len(V0))]:
            if rng.random() < probability:
                pixels = apply(name, pixels, level, self.constants, rng)
        return pixels
