"""Mixup: closed forms of the mean and of Beta's moments."""

import numpy as np
import pytest
import torch

from rescale.data.augment import mixup


def test_images_are_mixed_as_their_labels() -> None:
    images, labels = torch.randn(6, 3, 4, 4), torch.arange(6)
    before = images.clone()
    mixed, first, second, share = mixup(images, labels, 0.4, torch.Generator().manual_seed(1))
    assert torch.allclose(mixed, share * images + (1 - share) * images[second], atol=1e-6)
    assert torch.equal(first, labels) and sorted(second.tolist()) == list(range(6))
    assert 0 < share < 1 and torch.equal(images, before)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    generator, image, label = torch.Generator().manual_seed(0), torch.zeros(1), torch.zeros(1).long()
    shares = np.array([mixup(image, label, alpha, generator)[3] for _ in range(4000)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 4 * np.sqrt(variance / 4000)
    assert shares.var() == pytest.approx(variance, rel=0.1)


def test_the_generator_alone_decides() -> None:
    images, labels = torch.randn(5, 2), torch.arange(5)
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(2), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    first = mixup(images, labels, 0.2, torch.Generator().manual_seed(7))
    assert torch.equal(torch.rand(2), expected[0]) and np.random.rand() == expected[1]
    again = mixup(images, labels, 0.2, torch.Generator().manual_seed(7))
    other = mixup(images, labels, 0.2, torch.Generator().manual_seed(8))
    assert torch.equal(first[0], again[0]) and first[3] == again[3] != other[3]
