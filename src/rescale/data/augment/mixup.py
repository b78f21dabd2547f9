"""Mixup (Zhang et al. 2018): train on a weighted mean of two images and of their losses."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Mixed(NamedTuple):
    """Images made of two, for which the loss is share x loss(labels) + (1 - share) x loss(others).

    images: [N, ...]. labels, others: [N], of the first and the second image. share: of the first, in [0, 1].
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    share: float


def mixup(images: Tensor, labels: Tensor, alpha: float, generator: torch.Generator) -> Mixed:
    """Mix each image with another image of the batch. One share, from Beta(alpha, alpha), serves all.

    Args:
        images: floats [N, ...].
        labels: [N].
        alpha: parameter of the beta distribution, above 0.
        generator: CPU generator, the only source of randomness.

    Returns:
        The mixed images, both labels of each, and the share of the first images.
    """
    share, partner = share_and_partners(len(images), alpha, generator)
    partner = partner.to(images.device)
    return Mixed(torch.lerp(images[partner], images, share), labels, labels[partner], share)


def share_and_partners(count: int, alpha: float, generator: torch.Generator) -> tuple[float, Tensor]:
    """Draw a share from Beta(alpha, alpha), and a permutation of `count` images, int64 [count]."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))  # torch's Beta takes no generator
    return share, torch.randperm(count, generator=generator)
