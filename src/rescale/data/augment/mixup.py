"""Mixup (Zhang et al. 2018): train on a weighted mean of two images and of their losses."""

import numpy as np
import torch
from torch import Tensor


def mixup(
    images: Tensor, labels: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mix each image with another of its batch, all by one share drawn from Beta(alpha, alpha).

    images: floats [N, ...]. Returns (mixed images, labels, the other images' labels, share of the first).
    All randomness comes from the generator, which is a CPU one.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))  # torch's Beta takes no generator
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    return torch.lerp(images[partner], images, share), labels, labels[partner], share
