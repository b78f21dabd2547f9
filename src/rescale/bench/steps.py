"""What is timed: the training step that `rescale train` takes, or a forward pass for inference."""

from collections.abc import Callable
from typing import Any

import torch

from rescale import machine
from rescale.bench.timing import TimingProtocol
from rescale.data import Batch
from rescale.execution import ExecutionMode
from rescale.models import External, Rates
from rescale.models.execute import LAYOUTS, check_mode, folded, frozen, place
from rescale.network import Network
from rescale.recipes import Recipe, recipe, resolve
from rescale.tasks import Task, task_of
from rescale.training.assemble import assemble
from rescale.training.step import DTYPES

_STEPS_PER_EPOCH = 100  # arbitrary: it only sets the learning rate, which takes no time

Step = Callable[[], object]


def prepare(
    model: Network | External, protocol: TimingProtocol, batch: int, recipe_json: str | None
) -> tuple[Step, dict[str, Any]]:
    """Prepare a step on random images.

    Args:
        model: what is timed.
        protocol: how it is timed; its `fast` is a mode, not auto.
        batch: images per step.
        recipe_json: a resolved recipe; None for resnet-rs.

    Returns:
        A function that takes one step, and what it uses (precision, fast, folded).
    """
    chosen, mode = resolved(model, protocol, batch, recipe_json), ExecutionMode.parse(protocol.fast)
    check_mode(model, mode, protocol.device)
    task = task_of(chosen).placed(protocol.device, LAYOUTS[mode.layout])
    example = task.example(batch, model)
    used = {"precision": str(chosen.precision), "fast": str(mode)}
    if protocol.mode == "infer":
        step, is_folded = _infer(model, mode, task, example, str(chosen.precision))
        return step, used | {"folded": is_folded}
    stepper, _ = assemble(model, chosen, task, _STEPS_PER_EPOCH, mode=mode, device=protocol.device)
    batches = [example.to(protocol.device)]  # a run's loader moves them there as well
    return lambda: stepper(batches, 0), used


def _infer(
    model: Network | External, mode: ExecutionMode, task: Task, example: Batch, precision: str
) -> tuple[Step, bool]:
    """A forward pass, and whether batch norm was folded into the convolutions."""
    torch.manual_seed(0)
    module, _ = task.model(model, Rates())
    without_norms = folded(module.eval())
    module = place(without_norms if without_norms is not None else module, mode, task.device)
    dtype = DTYPES.get(precision, torch.float32)  # cast once; autocast would cast the weights in every pass
    ready = task.inputs(example).to(dtype)
    call = frozen(module.to(dtype), mode, ready)

    def infer() -> object:
        with torch.no_grad():
            return call(ready)

    return infer, without_norms is not None


def resolved(
    model: Network | External, protocol: TimingProtocol, batch: int, recipe_json: str | None
) -> Recipe:
    """The resolved recipe, with this batch in one micro-batch and the protocol's precision."""
    if recipe_json is None:
        native = machine.native_bf16(protocol.device)
        chosen = resolve(recipe("resnet-rs"), model, native_bf16=native).recipe
    else:
        chosen = Recipe.model_validate_json(recipe_json)
    changes: dict[str, Any] = {"batch": batch, "accumulate": 1}
    if protocol.precision != "auto":
        changes["precision"] = protocol.precision
    return chosen.model_copy(update=changes)
