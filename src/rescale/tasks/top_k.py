"""Top-1 and top-5 accuracy, and the predictions behind them."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from rescale.data import Batch
from rescale.errors import JobError
from rescale.figure import Figure

if TYPE_CHECKING:
    from rescale.tasks.classification import Classification

TOP_1 = Figure("top1", "top-1", "%", is_share=True)
BEST = 5  # predictions kept per image


class TopK:
    """Percent of images whose label is the first, or among the first five, of the model's predictions."""

    uses_outputs = True

    def __init__(self, task: "Classification") -> None:
        self.task = task
        self.sums = torch.zeros(4, dtype=torch.float64)  # images, first, among five, loss
        self.rows: list[dict[str, np.ndarray]] = []

    def prepare(self, model: nn.Module, train: Callable[[], Iterable[Batch]]) -> None:
        """Does nothing: only the model's outputs are needed."""

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Add one batch of images and labels."""
        labels = batch.tensors["labels"].to(self.task.device)
        logits = model(self.task.inputs(batch)).float()
        best = logits.topk(min(BEST, logits.shape[1])).indices
        hits = best == labels[:, None]
        loss = F.cross_entropy(logits, labels, reduction="sum")
        sums = [torch.tensor(float(batch.count)), hits[:, 0].sum(), hits.any(1).sum(), loss]
        self.sums += torch.stack([value.double().cpu() for value in sums])
        columns = {
            "index": batch.indices,
            "target": batch.tensors["labels"],
            "top": best,
            "probability": logits.softmax(1).gather(1, best),
        }
        self.rows.append({name: column.cpu().numpy() for name, column in columns.items()})

    def combine(self, gather: Callable[[Any], list[Any]]) -> None:
        """Sum over all processes, and collect their rows."""
        self.sums = torch.stack(gather(self.sums)).sum(0)
        self.rows = [row for rows in gather(self.rows) for row in rows]

    def compute(self) -> dict[str, float]:
        """top1 and top5 in percent, loss in nats, images."""
        images, first, five, loss = self.sums.tolist()
        if not images:
            raise JobError("no image to judge the model on can be read")
        return {
            "top1": 100 * first / images,
            "top5": 100 * five / images,
            "loss": loss / images,
            "images": int(images),
        }

    def predictions(self) -> dict[str, np.ndarray]:
        """index, target: int64 [N]; top: int64 [N, 5], the most probable classes; probability: [N, 5]."""
        names = self.rows[0] if self.rows else ()
        columns = {name: np.concatenate([row[name] for row in self.rows]) for name in names}
        order = np.argsort(columns["index"], kind="stable") if columns else None
        return {name: column[order] for name, column in columns.items()}
