"""The interface between tasks and the training loop, timing and studies."""

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
    """The loss and the training figures of a batch.

    Args:
        loss: scalar that is minimised, a mean over the batch.
        sums: figures of training by name, each as a (sum, weight) pair of scalars; both add up over batches
            and processes, and their ratio is the figure.
    """

    loss: Tensor
    sums: dict[str, tuple[Tensor | float, float]]


class Evaluator(Protocol):
    """Evaluates a model on a data set. It accumulates over batches and processes."""

    uses_outputs: bool  # whether the model's outputs must correspond to the data's targets

    def prepare(self, model: nn.Module, train: Callable[[], Iterable[Batch]]) -> None:
        """Process the training data first, in evaluation order; most evaluators do nothing here."""

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Add one batch. The model is in evaluation mode."""

    def combine(self, gather: Callable[[Any], list[Any]]) -> None:
        """Add the values of other processes; `gather` takes this process's value and returns those of all."""

    def compute(self) -> dict[str, float]:
        """The figures by name. Raises JobError if there was no sample."""

    def predictions(self) -> dict[str, np.ndarray]:
        """Columns of a table with one row per sample, including `index`; empty if none are kept.

        If the headline figure is a mean over samples, the column `score` has what it is the mean of, so that
        studies can compare networks sample by sample.
        """


class Task(Protocol):
    """How a model is made, trained and evaluated. Only `tasks/` knows what a target is.

    `losses` receives the model itself, not its outputs: detection computes its losses inside the model, and
    contrastive learning gathers features of all processes.
    """

    @property
    def name(self) -> str:
        """The name in a recipe's `task`."""

    @property
    def headline(self) -> Figure:
        """The main figure of a run."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The name of each output of the model; empty if they have no names."""

    @property
    def device(self) -> str:
        """cpu, cuda or cuda:N: where batches are moved to."""

    def placed(self, device: str, layout: torch.memory_format) -> "Task":
        """The same task on a device, its inputs in this memory layout."""

    def check(self, data: Data) -> None:
        """Raise UserError for data that the task cannot be trained on."""

    def adapt(self, model: Network | External, data: Data) -> Network | External:
        """The model with the outputs that the data needs."""

    def model(self, model: Network | External, rates: Rates) -> tuple[nn.Module, list[str]]:
        """The module with newly initialised weights, and one line for each rate that does not apply to it."""

    def start_from(self, module: nn.Module, model: Network | External, weights: StartingWeights) -> list[str]:
        """Load initial weights into a module; returns one line for each assumption and omission."""

    def judged(self, module: nn.Module, labels: tuple[str, ...]) -> tuple[nn.Module, list[str]]:
        """The module with outputs that correspond to the data's targets, and the assumptions made.

        labels: names of the module's outputs; empty if unknown. Raises UserError if they cannot be matched.
        """

    def prepare(self, resolution: int, *, training: bool) -> Prepare:
        """A function that turns a sample into the tensors of one element of a batch."""

    def stream(self, source: Source, resolution: int, loading: Loading) -> Iterator[Batch]:
        """The batches of one pass over a source."""

    def example(self, count: int, model: Network | External) -> Batch:
        """A batch of random samples, to time a model without data."""

    def inputs(self, batch: Batch) -> Tensor:
        """The input of the model, on the device."""

    def losses(self, model: nn.Module, batch: Batch, seed: int, processes: Processes) -> Losses:
        """The loss of this process's batch. seed: of any randomness in it."""

    def evaluators(self, names: Sequence[str] = ()) -> list[Evaluator]:
        """New evaluators by name; without names, those of the headline figure."""

    def caption(self, target: Any) -> str:
        """A sample's target in a few words."""

    def picture(self, tensors: dict[str, Tensor]) -> np.ndarray:
        """uint8 [H, W, 3]: a prepared sample as a picture."""
