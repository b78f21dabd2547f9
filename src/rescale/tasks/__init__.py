"""What a batch, a loss and a metric are. The one training loop knows a task only through this."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from rescale.tasks.classification import Classification

__all__ = ["Classification", "Metric", "Task"]


class Metric(Protocol):
    """Sums over a data set. They add up over batches and over processes, and become figures at the end."""

    def update(self, model: nn.Module, batch: Any) -> None:
        """Add one batch."""

    def combine(self, gather: Callable[[Any], list[Any]]) -> None:
        """Add what other processes found; `gather` gives everyone's value for one's own."""

    def compute(self) -> dict[str, float]:
        """The figures so far, by name."""


class Task(Protocol):
    """How a model is trained and judged.

    `losses` sees the model itself, not its output, because detection computes its losses inside and
    contrastive learning gathers features across processes; a batch is whatever the task's loader yields,
    because pseudo-labels come as a second stream beside the first. device: where batches are moved to.
    """

    @property
    def device(self) -> str:
        """cpu, cuda or cuda:N."""

    def losses(self, model: nn.Module, batch: Any, seed: int) -> dict[str, Tensor]:
        """`loss`, which is minimised (a mean over the batch), and sums to report: `correct`, `images`."""

    def metric(self) -> Metric:
        """A fresh metric."""
