"""torchvision's RandAugment, as an alternative to the authors' whose meaning it is often taken for."""

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandAugment

BINS = 31  # torchvision's default; its magnitudes run from 0 to 30


@dataclass(frozen=True)
class TorchvisionRandAugment:
    """torchvision's RandAugment of `layers` operations at bin magnitude / 10 x 30 of its 31 bins, at most 30.

    So that 10 is its strongest, as 10 is the strongest value that the authors' levels were made for. Its
    operations are fourteen, with identity and without invert, cutout and solarize-add.
    """

    layers: int
    magnitude: float
    policy: RandAugment = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        bin_ = min(BINS - 1, round(self.magnitude / 10 * (BINS - 1)))
        made = RandAugment(self.layers, bin_, BINS, InterpolationMode.NEAREST, fill=[128, 128, 128])
        object.__setattr__(self, "policy", made)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(int(rng.integers(2**62)))
        try:
            return np.array(self.policy(Image.fromarray(pixels)))
        finally:
            torch.default_generator.set_state(before)
