"""torchvision's RandAugment, which differs from the authors' although it is often taken for the same."""

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from rescale.data.augment.randaugment import drawn_magnitude

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
        probability, noise: of each operation and of its magnitude, as in `drawn_magnitude`.
    """

    layers: int
    magnitude: float
    probability: float = 1.0
    noise: float = 0.0
    policy: "RandAugment" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", _policy(self.layers, _bin(self.magnitude)))

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.probability == 1 and self.noise == 0:
            return _applied(self.policy, pixels, rng)
        for _ in range(self.layers):
            magnitude = drawn_magnitude(self.magnitude, self.probability, self.noise, rng)
            if magnitude is not None:
                pixels = _applied(_policy(1, _bin(magnitude)), pixels, rng)
        return pixels


def _bin(magnitude: float) -> int:
    return min(BINS - 1, round(magnitude / 10 * (BINS - 1)))


@cache
def _policy(layers: int, bin_: int) -> "RandAugment":
    from torchvision.transforms import InterpolationMode, RandAugment  # takes as long as importing torch

    return RandAugment(layers, bin_, BINS, InterpolationMode.NEAREST, fill=[128, 128, 128])


def _applied(policy: "RandAugment", pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The policy's result, with the state of torch's generator as before."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(int(rng.integers(2**62)))
    try:
        return np.array(policy(Image.fromarray(pixels)))
    finally:
        torch.default_generator.set_state(before)
