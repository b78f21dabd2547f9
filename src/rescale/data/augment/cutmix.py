"""CutMix (Yun et al. 2019): paste a box of another image, and weight the two losses by area."""

import math

import torch
from torch import Tensor

from rescale.data.augment.mixup import Mixed, mixup, share_and_partners


def cutmix(images: Tensor, labels: Tensor, alpha: float, generator: torch.Generator) -> Mixed:
    """Replace a box of each image by that of another image of the batch; one box serves all.

    Args:
        images: floats [N, C, H, W].
        labels: [N].
        alpha: parameter of the beta distribution of the share that is kept, above 0.
        generator: CPU generator, the only source of randomness.

    Returns:
        The images, both labels of each, and the share of the area that is of the first images; it is above
        the drawn one where the box reaches over the edge.
    """
    share, partner = share_and_partners(len(images), alpha, generator)
    height, width = images.shape[-2:]
    x, y = (int(torch.randint(side, (1,), generator=generator)) for side in (width, height))
    left, top, right, bottom = cut_box(share, x, y, width, height)
    partner = partner.to(images.device)
    cut = images.clone()
    cut[..., top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    kept = 1 - (right - left) * (bottom - top) / (width * height)
    return Mixed(cut, labels, labels[partner], kept)


def cut_box(share: float, x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a box of the image's shape and 1 - share of its area around (x, y).

    It ends at the image's edges. Sides are rounded down to even numbers of pixels, as by the authors.
    """
    half = 0.5 * math.sqrt(1 - share)
    across, down = int(half * width), int(half * height)
    return max(0, x - across), max(0, y - down), min(width, x + across), min(height, y + down)


def mixup_or_cutmix(
    images: Tensor,
    labels: Tensor,
    mixup_alpha: float,
    cutmix_alpha: float,
    cutmix_chance: float,
    generator: torch.Generator,
) -> Mixed:
    """Mix a batch by the one method that is on, or by one of the two.

    Args:
        images: floats [N, C, H, W].
        labels: [N].
        mixup_alpha, cutmix_alpha: 0 for off; one is above 0.
        cutmix_chance: of CutMix if both are on, in [0, 1] (DeiT's and ConvNeXt's code: one half).
        generator: CPU generator, the only source of randomness.
    """
    use_cutmix = cutmix_alpha > 0
    if use_cutmix and mixup_alpha > 0:
        use_cutmix = bool(torch.rand(1, generator=generator) < cutmix_chance)
    if use_cutmix:
        return cutmix(images, labels, cutmix_alpha, generator)
    return mixup(images, labels, mixup_alpha, generator)
