"""What the training loop, timing and studies know of a task."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rescale.data import Batch, Data, Loading, Source
from rescale.data.loading import Prepare
from rescale.figure import Figure
from rescale.models import External, Rates
from rescale.models.start import StartingWeights
from rescale.network import Network
from rescale.processes import Processes


class Losses(NamedTuple):
    """What a batch gave.

    Args:
        loss: scalar that is minimised, a mean over the batch.
        sums: figures of training by name, each as a (sum, weight) pair of scalars; both add up over batches
            and processes, and their ratio is the figure.
    """

    loss: Tensor
    sums: dict[str, tuple[Tensor | float, float]]


class Evaluator(Protocol):
    """One way to judge a model on a data set. It adds up over batches and processes."""

    uses_outputs: bool  # whether the model's outputs have to mean what the data does

    def prepare(self, model: nn.Module, train: Callable[[], Iterable[Batch]]) -> None:
        """Look at the training data first, in evaluation order; most evaluators need not."""

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Add one batch. The model is in evaluation mode."""

    def combine(self, gather: Callable[[Any], list[Any]]) -> None:
        """Add what other processes have; `gather` returns everyone's value for one's own."""

    def compute(self) -> dict[str, float]:
        """The figures by name. JobError where there was no sample."""

    def predictions(self) -> dict[str, np.ndarray]:
        """Columns of a table with a row a sample, `index` among them; none where it keeps none."""


class Task(Protocol):
    """How a model is made, trained and judged. Nothing outside `tasks/` knows what a target is.

    `losses` sees the model itself, not its outputs: detection computes its losses inside the model, and
    contrastive learning gathers features of all processes.
    """

    @property
    def name(self) -> str:
        """As a recipe's `task` names it."""

    @property
    def headline(self) -> Figure:
        """The figure that a run is judged by."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The name of each output of the model; none where they have no names."""

    @property
    def device(self) -> str:
        """cpu, cuda or cuda:N: where batches are moved to."""

    def placed(self, device: str, layout: torch.memory_format) -> "Task":
        """The same task on a device, its inputs in this memory layout."""

    def check(self, data: Data) -> None:
        """Raise UserError for data that cannot be learned from."""

    def adapt(self, model: Network | External, data: Data) -> Network | External:
        """The model with the outputs that the data needs."""

    def model(self, model: Network | External, rates: Rates) -> tuple[nn.Module, list[str]]:
        """The module with newly drawn weights, and what of the rates does not apply to it, a line each."""

    def start_from(self, module: nn.Module, model: Network | External, weights: StartingWeights) -> list[str]:
        """Put starting weights into a module; returns what was assumed or left out, one line each."""

    def judged(self, module: nn.Module, labels: tuple[str, ...]) -> tuple[nn.Module, list[str]]:
        """The module with outputs that mean what the data does, and what was assumed.

        labels: what the module's outputs mean; none where that is unknown. UserError where they cannot fit.
        """

    def prepare(self, resolution: int, *, training: bool) -> Prepare:
        """What turns a sample into the tensors of its place in a batch."""

    def stream(self, source: Source, resolution: int, loading: Loading) -> Iterator[Batch]:
        """The batches of one pass over a source."""

    def example(self, count: int, model: Network | External) -> Batch:
        """A batch of random samples, to time a model without data."""

    def inputs(self, batch: Batch) -> Tensor:
        """What the model is called with, on the device."""

    def losses(self, model: nn.Module, batch: Batch, seed: int, processes: Processes) -> Losses:
        """The loss of this process's batch. seed: of whatever is random in it."""

    def evaluators(self, names: Sequence[str] = ()) -> list[Evaluator]:
        """New evaluators by name; those that give the headline figure where no name is given."""

    def caption(self, target: Any) -> str:
        """A sample's target in a few words."""

    def picture(self, tensors: dict[str, Tensor]) -> np.ndarray:
        """uint8 [H, W, 3]: a prepared sample as a person looks at it."""
