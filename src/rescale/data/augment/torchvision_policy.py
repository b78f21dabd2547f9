"""torchvision's RandAugment, which differs from the authors' although it is often taken for the same."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

if TYPE_CHECKING:
    from torchvision.transforms import RandAugment

BINS = 31  # torchvision's default; its magnitudes run from 0 to 30


@dataclass(frozen=True)
class TorchvisionRandAugment:
    """torchvision's RandAugment. It has fourteen operations: with identity, no invert, cutout, solarize-add.

    Args:
        layers: number of operations per image.
        magnitude: 0 to 10, mapped linearly to torchvision's bins 0 to 30; larger values are clipped. So 10 is
            the strongest level here as well as in the authors' design.
    """

    layers: int
    magnitude: float
    policy: "RandAugment" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from torchvision.transforms import InterpolationMode, RandAugment  # takes as long as importing torch

        bin_ = min(BINS - 1, round(self.magnitude / 10 * (BINS - 1)))
        policy = RandAugment(self.layers, bin_, BINS, InterpolationMode.NEAREST, fill=[128, 128, 128])
        object.__setattr__(self, "policy", policy)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(int(rng.integers(2**62)))
        try:
            return np.array(self.policy(Image.fromarray(pixels)))
        finally:
            torch.default_generator.set_state(before)
