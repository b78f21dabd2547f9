"""CutMix and random erasing against torchvision's functions with the same draws."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2._augment as peer
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import erase

from rescale.data import Batch
from rescale.data.augment.cutmix import cut_box, cutmix, mixup_or_cutmix
from rescale.data.augment.erasing import AREA, RATIO, RandomErasing, erased_box
from rescale.data.augment.mixup import mixup, share_and_partners
from rescale.processes import ALONE
from rescale.recipes import Recipe
from rescale.tasks.classification import Classification


@pytest.mark.parametrize("seed", range(12))
def test_cutmix_is_torchvisions(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = torch.randn(5, 3, 24, 17), torch.arange(5)
    before = images.clone()
    mixed = cutmix(images, labels, 1.0, torch.Generator().manual_seed(seed))
    assert torch.equal(images, before)

    generator = torch.Generator().manual_seed(seed)
    share, partner = share_and_partners(5, 1.0, generator)
    theirs = v2.CutMix(num_classes=5)
    monkeypatch.setattr(theirs, "_dist", SimpleNamespace(sample=lambda _: share))
    draws = SimpleNamespace(
        randint=lambda side, size: torch.randint(side, size, generator=generator), clamp=torch.clamp
    )
    with monkeypatch.context() as patch:  # its width is drawn first too
        patch.setattr(peer, "torch", draws)
        params = theirs.make_params([images])
    assert mixed.share == pytest.approx(params["lam_adjusted"], abs=1e-12)
    for i in range(5):  # torchvision pairs neighbours: the first of two gets the box of the second
        pair = images[[i, int(partner[i])]]
        expected = theirs.transform(pair, {**params, "labels": labels, "batch_size": 2})[0]
        assert torch.equal(mixed.images[i], expected)
    assert torch.equal(mixed.others, labels[partner]) and torch.equal(mixed.labels, labels)


def test_the_loss_is_that_of_torchvisions_soft_labels() -> None:
    recipe = Recipe(cutmix=1.0, label_smoothing=0.1)
    task = Classification(recipe, tuple("abcde"))
    pixels, labels = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8), torch.tensor([0, 3, 3, 1])
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))
    batch = Batch({"images": pixels, "labels": labels}, 4, torch.arange(4))
    loss = task.losses(model, batch, 7, ALONE).loss
    mixed = cutmix(task.inputs(batch), labels, 1.0, torch.Generator().manual_seed(7))
    hot = torch.nn.functional.one_hot(labels, 5).float()
    others = torch.nn.functional.one_hot(mixed.others, 5).float()
    soft = mixed.share * hot + (1 - mixed.share) * others
    expected = torch.nn.functional.cross_entropy(model(mixed.images), soft, label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)


def test_boxes_end_at_the_edges() -> None:
    assert cut_box(0.0, 8, 8, 16, 16) == (0, 0, 16, 16)
    assert cut_box(1.0, 3, 3, 16, 16) == (3, 3, 3, 3)
    assert cut_box(0.75, 1, 15, 16, 16) == (0, 11, 5, 16)


def test_one_of_the_two_methods_is_drawn() -> None:
    images, labels = torch.randn(4, 3, 8, 8), torch.arange(4)

    def made(seed: int, *values: float) -> Any:
        return mixup_or_cutmix(images, labels, *values, torch.Generator().manual_seed(seed))

    for seed in range(3):  # alone: today's draws of mixup
        first = mixup(images, labels, 0.8, torch.Generator().manual_seed(seed))
        assert torch.equal(made(seed, 0.8, 0.0, 0.5).images, first.images)
        first = cutmix(images, labels, 1.0, torch.Generator().manual_seed(seed))
        assert torch.equal(made(seed, 0.0, 1.0, 0.0).images, first.images)
    pasted = 0
    for seed in range(400):
        mixed = made(seed, 0.8, 1.0, 0.25)
        changed = mixed.images != images
        pasted += bool(torch.isin(mixed.images, images).all())
        assert changed.any() or mixed.share > 0.9 or (mixed.others == labels).all()
    assert abs(pasted / 400 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)
    assert torch.equal(made(5, 0.8, 1.0, 0.5).images, made(5, 0.8, 1.0, 0.5).images)


class Draws:
    """Stands for torch in torchvision's random erasing: its numbers are those of a NumPy generator."""

    float32, exp, tensor = torch.float32, torch.exp, torch.tensor

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def empty(self, *_: Any, **__: Any) -> SimpleNamespace:
        def uniform(low: float, high: float) -> torch.Tensor:
            return torch.tensor(self.rng.uniform(float(low), float(high)), dtype=torch.float64)

        return SimpleNamespace(uniform_=uniform, normal_=lambda: torch.ones(1))

    def randint(self, low: int, high: int, size: tuple[int, ...]) -> torch.Tensor:
        return torch.tensor(self.rng.integers(low, high))


@pytest.mark.parametrize(("width", "height"), [(40, 30), (9, 60), (32, 32)])  # one often needs more attempts
def test_erased_boxes_are_torchvisions(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = v2.RandomErasing(1.0, AREA, RATIO, value="random")
    for seed in range(60):
        box = erased_box(width, height, np.random.default_rng(seed))
        with monkeypatch.context() as patch:
            patch.setattr(peer, "torch", Draws(seed))
            params = theirs.make_params([torch.zeros(3, height, width)])
        if params["v"] is None:
            assert box is None
        else:
            assert box == (params["j"], params["i"], params["w"], params["h"])


def test_erased_pixels_are_noise_of_the_data() -> None:
    mean, std = (0.5, 0.4, 0.6), (0.1, 0.05, 0.02)
    pixels = np.zeros((64, 48, 3), np.uint8)
    values = []
    for seed in range(40):
        erased = RandomErasing(1.0, mean, std)(pixels, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        rng.random()
        box = erased_box(48, 64, rng)
        inside = erased[box.top : box.top + box.height, box.left : box.left + box.width]
        channels_first = (torch.from_numpy(array).permute(2, 0, 1) for array in (pixels, inside))
        expected = erase(next(channels_first), box.top, box.left, box.height, box.width, next(channels_first))
        assert np.array_equal(erased, expected.permute(1, 2, 0).numpy())
        values.append(inside.reshape(-1, 3) / 255)
    noise = np.concatenate(values)
    assert noise.mean(0) == pytest.approx(mean, abs=3e-3) and noise.std(0) == pytest.approx(std, abs=3e-3)
    assert not pixels.any()
    black = RandomErasing(1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))(pixels, np.random.default_rng(0))
    box = black[black.any(2)]
    assert (box == 0).mean() > 0.4 and (box == 255).mean() > 0.1  # clipped, not wrapped


def test_the_share_of_erased_images() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    erasing = RandomErasing(0.25, (0.9, 0.9, 0.9), (0.1, 0.1, 0.1))
    erased = sum(erasing(pixels, np.random.default_rng(i)) is not pixels for i in range(800))
    assert abs(erased / 800 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 800)
