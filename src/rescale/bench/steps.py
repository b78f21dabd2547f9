"""What is timed: the very step that trains, or a forward pass as evaluation makes it."""

from collections.abc import Callable
from typing import Any

import torch

from rescale import machine
from rescale.bench.timing import Protocol
from rescale.data import Batch
from rescale.models import External, make
from rescale.network import Network
from rescale.recipes import Recipe, recipe, resolve
from rescale.recipes.averaging import Average
from rescale.recipes.optimizers import make_optimizer
from rescale.recipes.rates import rates_of
from rescale.tasks import Classification
from rescale.training.step import Stepper, autocast

_STEPS_PER_EPOCH = 100  # of a made-up epoch; it decides the learning rate and nothing that takes time
_MIDDLE = (0.5, 0.5, 0.5)


def prepare(
    model: Network | External, protocol: Protocol, batch: int, plain: str | None
) -> tuple[Callable[[], object], dict[str, str]]:
    """A function that takes one step of `batch` random images, and what it uses (precision, memory_format).

    plain: a resolved recipe as JSON; None for resnet-rs.
    """
    chosen = resolved(model, protocol, batch, plain)
    task = Classification(_MIDDLE, _MIDDLE, chosen.label_smoothing, chosen.mixup, protocol.device)
    torch.manual_seed(0)
    module, _ = make(model, rates_of(chosen))
    module = module.to(protocol.device).to(memory_format=torch.channels_last)
    images = torch.randint(256, (batch, 3, model.resolution, model.resolution), dtype=torch.uint8)
    labels = torch.randint(model.classes if isinstance(model, External) else model.head.classes, (batch,))
    used = {"precision": str(chosen.precision), "memory_format": "channels_last"}
    if protocol.mode == "infer":
        module.eval()
        ready = task.inputs(images)

        def infer() -> object:
            with torch.inference_mode(), autocast(protocol.device, chosen.precision):
                return module(ready)

        return infer, used

    average = Average(module, chosen.ema, ramp=chosen.ema_ramp) if chosen.ema else None
    stepper = Stepper(
        module,
        task,
        chosen,
        make_optimizer(module, chosen),
        average,
        _STEPS_PER_EPOCH,
        device=protocol.device,
    )
    batches = [Batch(images, labels, torch.arange(batch))]
    return lambda: stepper(batches, 0), used


def resolved(model: Network | External, protocol: Protocol, batch: int, plain: str | None) -> Recipe:
    """The recipe in numbers, with this batch in one piece and the precision asked for."""
    if plain is None:
        native = machine.native_bf16(protocol.device)
        chosen = resolve(recipe("resnet-rs"), model, native_bf16=native).recipe
    else:
        chosen = Recipe.model_validate_json(plain)
    changes: dict[str, Any] = {"batch": batch, "accumulate": 1}
    if protocol.precision != "auto":
        changes["precision"] = protocol.precision
    return chosen.model_copy(update=changes)
