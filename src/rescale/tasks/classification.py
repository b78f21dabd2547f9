"""Image classification: one label an image, cross-entropy with label smoothing, top-1 and top-5."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.data import Batch, Data, Draw, Loading, Sample, Source, batches
from rescale.data.augment import eval_transform, mixup_or_cutmix, train_transform
from rescale.data.augment.pipeline import EvalTransform, TrainTransform
from rescale.errors import UserError, first_few, nearest, plural
from rescale.figure import Figure
from rescale.models import External, Rates, counted_cost, make
from rescale.models.external import check_outputs
from rescale.models.head import ChosenOutputs, classifier_of
from rescale.models.start import StartingWeights, class_order, fill
from rescale.network import Network
from rescale.processes import Processes
from rescale.recipes import Recipe
from rescale.tasks.frozen_features import LinearProbe, NearestNeighbours
from rescale.tasks.task import Evaluator, Losses
from rescale.tasks.top_k import TOP_1, TopK

EVALUATORS: dict[str, Callable[["Classification"], Evaluator]] = {
    "top-k": TopK,
    "knn": NearestNeighbours,
    "linear": LinearProbe,
}
_MIDDLE = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class PrepareClassified:
    """An image and its class -> images: uint8 [3, R, R], labels: int64 []."""

    transform: TrainTransform | EvalTransform

    def __call__(self, sample: Sample, draw: Draw) -> dict[str, Tensor]:
        return {"images": self.transform(sample.media, draw.rng()), "labels": torch.tensor(sample.target)}


@dataclass(frozen=True)
class Classification:
    """Classification by a resolved recipe.

    Args:
        recipe: whose augmentation, label smoothing, mixup and CutMix are applied.
        classes: names by label.
        mean, std: of the channels, for pixels in 0..1.
        device: where batches are moved to.
        layout: memory layout of the images, the same as that of the model.
    """

    recipe: Recipe
    classes: tuple[str, ...] = ()
    mean: tuple[float, float, float] = _MIDDLE
    std: tuple[float, float, float] = _MIDDLE
    device: str = "cpu"
    layout: torch.memory_format = torch.channels_last

    name = "classification"

    @property
    def headline(self) -> Figure:
        """Top-1."""
        return TOP_1

    @property
    def outputs(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    def placed(self, device: str, layout: torch.memory_format) -> "Classification":
        """The same task on a device, its images in this memory layout."""
        return replace(self, device=device, layout=layout)

    def check(self, data: Data) -> None:
        """Raise UserError for fewer than two classes, and for classes that only have validation images."""
        parts = [data.train, *([data.minival] if data.minival is not None else [])]
        present = np.unique(np.concatenate([part.strata for part in parts]))
        if len(present) < 2:
            only = "".join(f" ({data.classes[label]})" for label in present)
            raise UserError(
                f"{data.spec}: images of {plural(len(present), 'class')} only{only}; classification needs "
                f"two or more"
            )
        unseen = np.setdiff1d(data.val.strata, present)
        if len(unseen):
            names = ", ".join(repr(data.classes[label]) for label in unseen[:5])
            raise UserError(
                f"{data.spec}: {plural(len(unseen), 'class')} with validation images and no training images: "
                f"{names}"
                f"{', ...' * (len(unseen) > 5)}"
            )

    def adapt(self, model: Network | External, data: Data) -> Network | External:
        """The model with an output for each class of the data.

        Raises UserError if an external model does not take its images or has other outputs.
        """
        adapted = model.with_classes(len(data.classes))
        if isinstance(adapted, External):
            counted_cost(adapted)  # whether it takes images of its resolution
            check_outputs(adapted)
        return adapted

    def model(self, model: Network | External, rates: Rates) -> tuple[nn.Module, list[str]]:
        """The module, and one line for each rate that does not apply to it."""
        return make(model, rates)

    def start_from(self, module: nn.Module, model: Network | External, weights: StartingWeights) -> list[str]:
        """Fill the module; rows of the head are matched to the classes by name."""
        return fill(module, model, weights, self.classes)

    def judged(self, module: nn.Module, labels: tuple[str, ...]) -> tuple[nn.Module, list[str]]:
        """The module with an output for each class of the data, matched by name.

        Without names the numbers of outputs and classes must agree; the order is assumed, and a note says so.
        """
        if not labels:
            outputs = classifier_of(module).out_features
            if outputs != len(self.classes):
                raise UserError(
                    f"the model has {plural(outputs, 'output')} without names, "
                    f"the data {plural(len(self.classes), 'class')}; "
                    f"give the names in preprocess.json (rescale import --labels FILE)"
                )
            assumed = f"assumed to be the classes in order ({first_few(self.classes)})"
            return module, [f"the outputs have no names: {assumed}"]
        order = class_order(labels, self.classes)
        if order is None:
            unknown = [name for name in self.classes if name not in labels]
            raise UserError(
                f"classes of the data that the model does not know: {', '.join(unknown[:5]) or 'ambiguous'}"
            )
        if order == list(range(len(labels))):
            return module, []
        return ChosenOutputs(module, order), [
            f"matched by name: {plural(len(order), 'class')} "
            f"among the model's {plural(len(labels), 'output')}"
        ]

    def prepare(self, resolution: int, *, training: bool) -> PrepareClassified:
        """The recipe's augmentation in training, the centre of the image in evaluation."""
        if not training:
            return PrepareClassified(eval_transform(self.recipe, resolution))
        return PrepareClassified(train_transform(self.recipe, resolution, self.mean, self.std))

    def stream(self, source: Source, resolution: int, loading: Loading) -> Iterator[Batch]:
        """Batches of `images` (uint8 [N, 3, R, R]) and `labels` (int64 [N])."""
        return batches(source, self.prepare(resolution, training=loading.training), loading)

    def example(self, count: int, model: Network | External) -> Batch:
        """Random pixels and labels."""
        classes = model.classes if isinstance(model, External) else model.head.classes
        side = model.resolution
        images = torch.randint(256, (count, 3, side, side), dtype=torch.uint8)
        tensors = {
            "images": images.contiguous(memory_format=torch.channels_last),
            "labels": torch.randint(classes, (count,)),
        }
        return Batch(tensors, count, torch.arange(count))

    def inputs(self, batch: Batch) -> Tensor:
        """The batch's images, normalised: floats [N, 3, R, R] on the device, in the layout."""
        images = batch.tensors["images"].to(self.device, non_blocking=True)
        scale, shift = self._normalising
        if self.layout == torch.contiguous_format:
            shape = (1, 3, 1, 1)
            return torch.addcmul(shift.view(shape), images.float().contiguous(), scale.view(shape))
        # whole rows at once: half the time of separate pixels
        rows, width = images.permute(0, 2, 3, 1).flatten(2), images.shape[3]
        normalised = torch.addcmul(shift.repeat(width), rows.float(), scale.repeat(width))
        return normalised.unflatten(2, (width, 3)).permute(0, 3, 1, 2)

    @cached_property
    def _normalising(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel, for pixels in 0..255. Cached: copying to a GPU blocks."""
        scale = [1 / (255 * std) for std in self.std]
        shift = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        return torch.tensor(scale, device=self.device), torch.tensor(shift, device=self.device)

    def losses(self, model: nn.Module, batch: Batch, seed: int, _: Processes) -> Losses:
        """Cross-entropy against smoothed labels; with mixup or CutMix, of pairs of one share per batch."""
        images, labels = self.inputs(batch), batch.tensors["labels"].to(self.device, non_blocking=True)
        mixup, cutmix = self.recipe.mixup, self.recipe.cutmix
        if mixup or cutmix:
            generator = torch.Generator().manual_seed(seed)
            images, labels, others, share = mixup_or_cutmix(
                images, labels, mixup, cutmix, self.recipe.cutmix_chance, generator
            )
            logits = model(images).float()
            loss = share * self._loss(logits, labels) + (1 - share) * self._loss(logits, others)
        else:
            logits = model(images).float()
            loss = self._loss(logits, labels)
        correct = (logits.argmax(1) == labels).sum()
        return Losses(loss, {TOP_1.name: (100 * correct, len(labels))})

    def evaluators(self, names: Sequence[str] = ()) -> list[Evaluator]:
        """Top-1 and top-5, unless others are named."""
        for name in names:
            if name not in EVALUATORS:
                raise UserError(f"classification has no evaluator {name!r}; {nearest(name, EVALUATORS)}")
        return [EVALUATORS[name](self) for name in names or ("top-k",)]

    def caption(self, target: int) -> str:
        """The name of the class."""
        return self.classes[target].replace("_", " ")

    def picture(self, tensors: dict[str, Tensor]) -> np.ndarray:
        """The image's pixels."""
        return tensors["images"].permute(1, 2, 0).numpy()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=float(self.recipe.label_smoothing))
