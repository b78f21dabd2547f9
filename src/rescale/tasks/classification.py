"""Image classification: one label an image, cross-entropy with label smoothing, top-1 and top-5."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.data import Batch
from rescale.data.augment import mixup
from rescale.errors import JobError


@dataclass(frozen=True)
class Classification:
    """mean, std: of the data's channels, 0..1. mixup: alpha of its Beta distribution, 0 for none.
    layout: of the images in memory, as the model has its maps."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    label_smoothing: float = 0.0
    mixup: float = 0.0
    device: str = "cpu"
    layout: torch.memory_format = torch.channels_last

    def inputs(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, R, R] -> normalised floats on the device, in the layout."""
        images = images.to(self.device, non_blocking=True)
        scale, shift = self._normalising
        if self.layout == torch.contiguous_format:
            shape = (1, 3, 1, 1)
            return torch.addcmul(shift.view(shape), images.float().contiguous(), scale.view(shape))
        # whole rows at once: half the time of pixels of three channels
        rows, width = images.permute(0, 2, 3, 1).flatten(2), images.shape[3]
        found = torch.addcmul(shift.repeat(width), rows.float(), scale.repeat(width))
        return found.unflatten(2, (width, 3)).permute(0, 3, 1, 2)

    @cached_property
    def _normalising(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel of 0..255; made once: a copy to a GPU waits for what it does."""
        scale = [1 / (255 * std) for std in self.std]
        shift = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        return torch.tensor(scale, device=self.device), torch.tensor(shift, device=self.device)

    def losses(self, model: nn.Module, batch: Batch, seed: int) -> dict[str, Tensor]:
        """Cross-entropy against smoothed labels; with mixup, of two images mixed by one share a batch."""
        images, labels = self.inputs(batch.images), batch.labels.to(self.device, non_blocking=True)
        if self.mixup:
            generator = torch.Generator().manual_seed(seed)
            images, labels, others, share = mixup(images, labels, self.mixup, generator)
            logits = model(images).float()
            loss = share * self._loss(logits, labels) + (1 - share) * self._loss(logits, others)
        else:
            logits = model(images).float()
            loss = self._loss(logits, labels)
        return {"loss": loss, "correct": (logits.argmax(1) == labels).sum()}

    def metric(self) -> "TopK":
        """Top-1, top-5 and mean cross-entropy (without smoothing)."""
        return TopK(self)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


class TopK:
    """Percent of images whose label is the first, or among the first five, of the model's guesses."""

    def __init__(self, task: Classification) -> None:
        self.task = task
        self.sums = torch.zeros(4, dtype=torch.float64)  # images, first, among five, loss

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Add one batch of uint8 images and labels."""
        labels = batch.labels.to(self.task.device)
        logits = model(self.task.inputs(batch.images)).float()
        best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        loss = F.cross_entropy(logits, labels, reduction="sum")
        sums = [torch.tensor(float(len(labels))), best[:, 0].sum(), best.any(1).sum(), loss]
        self.sums += torch.stack([value.double().cpu() for value in sums])

    def combine(self, gather: Callable[[Any], list[Any]]) -> None:
        """Add the sums of all processes up."""
        self.sums = torch.stack(gather(self.sums)).sum(0)

    def compute(self) -> dict[str, float]:
        """top1 and top5 in percent, loss in nats, images. JobError where there was no image."""
        images, first, five, loss = self.sums.tolist()
        if not images:
            raise JobError("no image to judge the model on can be read")
        return {
            "top1": 100 * first / images,
            "top5": 100 * five / images,
            "loss": loss / images,
            "images": int(images),
        }
