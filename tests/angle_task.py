"""A second task, as small as one can be: by how many degrees was the image turned?

Another target, another loss, another headline figure, of which less is better. `python:angle_task:create`
names it in a recipe; its option `largest` bounds the angle.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rescale.data import Batch, Data, Draw, Loading, Sample, Source, batches
from rescale.data.augment import eval_transform
from rescale.data.augment.operations import rotate
from rescale.errors import UserError
from rescale.figure import Figure
from rescale.models import External, Rates, make
from rescale.models.start import StartingWeights, fill
from rescale.network import Network
from rescale.processes import Processes
from rescale.recipes import Recipe
from rescale.tasks import Evaluator, Losses

ERROR = Figure("error", "mean error", "degrees", higher_is_better=False)


def create(recipe: Recipe, data: Data | None) -> "Angle":
    options = {key: value for key, value in recipe.task.items() if key != "name"}
    if wrong := options.keys() - {"largest"}:
        raise UserError(f"--set task.{min(wrong)}: the angle task has no such option; known: largest")
    return Angle(recipe, float(options.get("largest", 60.0)))


@dataclass(frozen=True)
class Turned:
    recipe: Recipe
    resolution: int
    largest: float
    training: bool

    def __call__(self, sample: Sample, draw: Draw) -> dict[str, Tensor]:
        rng = draw.rng() if self.training else np.random.default_rng(draw.index)
        angle = float(rng.uniform(-self.largest, self.largest))
        pixels = eval_transform(self.recipe, self.resolution)(sample.media).permute(1, 2, 0).numpy()
        turned = torch.from_numpy(rotate(pixels, angle).copy()).permute(2, 0, 1)
        return {"images": turned, "angles": torch.tensor(angle, dtype=torch.float32)}


@dataclass(frozen=True)
class Angle:
    recipe: Recipe
    largest: float
    device: str = "cpu"
    layout: torch.memory_format = torch.channels_last

    name = "python:angle_task:create"
    headline = ERROR
    outputs = ()

    def placed(self, device: str, layout: torch.memory_format) -> "Angle":
        return replace(self, device=device, layout=layout)

    def check(self, data: Data) -> None:
        if not len(data.train):
            raise UserError(f"{data.spec}: nothing to train on")

    def adapt(self, model: Network | External, data: Data) -> Network | External:
        return model.with_classes(1)

    def model(self, model: Network | External, rates: Rates) -> tuple[nn.Module, list[str]]:
        return make(model, rates)

    def start_from(self, module: nn.Module, model: Network | External, weights: StartingWeights) -> list[str]:
        return fill(module, model, weights)

    def judged(self, module: nn.Module, labels: tuple[str, ...]) -> tuple[nn.Module, list[str]]:
        return module, []

    def prepare(self, resolution: int, *, training: bool) -> Turned:
        return Turned(self.recipe, resolution, self.largest, training)

    def stream(self, source: Source, resolution: int, loading: Loading) -> Iterator[Batch]:
        return batches(source, self.prepare(resolution, training=loading.training), loading)

    def example(self, count: int, model: Network | External) -> Batch:
        images = torch.randint(256, (count, 3, model.resolution, model.resolution), dtype=torch.uint8)
        return Batch({"images": images, "angles": torch.zeros(count)}, count, torch.arange(count))

    def inputs(self, batch: Batch) -> Tensor:
        images = batch.tensors["images"].to(self.device).float() / 128 - 1
        return images.contiguous(memory_format=self.layout)

    def degrees(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.largest * model(self.inputs(batch)).float()[:, 0]

    def losses(self, model: nn.Module, batch: Batch, seed: int, processes: Processes) -> Losses:
        angles = batch.tensors["angles"].to(self.device)
        degrees = self.degrees(model, batch)
        loss = nn.functional.mse_loss(degrees / self.largest, angles / self.largest)
        return Losses(loss, {"error": ((degrees - angles).abs().sum().detach(), batch.count)})

    def evaluators(self, names: Sequence[str] = ()) -> list[Evaluator]:
        return [AngleError(self)]

    def caption(self, target: Any) -> str:
        return "upright"

    def picture(self, tensors: dict[str, Tensor]) -> np.ndarray:
        return tensors["images"].permute(1, 2, 0).numpy()


class AngleError:
    """Mean of the absolute difference, in degrees."""

    uses_outputs = True

    def __init__(self, task: Angle) -> None:
        self.task = task
        self.rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def prepare(self, model: nn.Module, train: Callable[[], Iterable[Batch]]) -> None:
        pass

    def update(self, model: nn.Module, batch: Batch) -> None:
        degrees = self.task.degrees(model, batch).cpu().numpy()
        self.rows.append((batch.indices.numpy(), batch.tensors["angles"].numpy(), degrees))

    def combine(self, gather: Callable[[Any], list[Any]]) -> None:
        self.rows = [row for rows in gather(self.rows) for row in rows]

    def compute(self) -> dict[str, float]:
        angles, degrees = (np.concatenate([row[i] for row in self.rows]) for i in (1, 2))
        return {"error": float(np.abs(angles - degrees).mean()), "images": len(angles)}

    def predictions(self) -> dict[str, np.ndarray]:
        index, target, degrees = (np.concatenate([row[i] for row in self.rows]) for i in range(3))
        score = np.abs(target - degrees)  # the headline figure is its mean
        return {"index": index, "target": target, "degrees": degrees, "score": score}
