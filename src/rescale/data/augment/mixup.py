"""Mixup (Zhang et al. 2018): train on a weighted mean of two images and of their losses."""

import numpy as np
import torch
from torch import Tensor


def mixup(
    images: Tensor, labels: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mix each image with another image of the batch. One share, from Beta(alpha, alpha), serves all.

    Args:
        images: floats [N, ...].
        labels: [N].
        alpha: parameter of the beta distribution, above 0.
        generator: CPU generator, the only source of randomness.

    Returns:
        The mixed images, the labels of the first images, the labels of the second images, and the share of
        the first images, in [0, 1].
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))  # torch's Beta takes no generator
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    return torch.lerp(images[partner], images, share), labels, labels[partner], share
