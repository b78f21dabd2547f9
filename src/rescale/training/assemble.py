"""Assemble a stepper, which takes optimizer steps, from a model, a recipe and a task."""

import torch

from rescale.execution import USUAL, ExecutionMode
from rescale.models import External
from rescale.models.execute import LAYOUTS, executed, place
from rescale.models.head import freeze_backbone
from rescale.models.start import StartingWeights
from rescale.network import Network
from rescale.processes import ALONE, Processes
from rescale.recipes import Recipe
from rescale.recipes.rates import rates_of
from rescale.tasks import Task
from rescale.training.norms import synchronise
from rescale.training.step import Stepper, seed_of


def assemble(
    model: Network | External,
    recipe: Recipe,
    task: Task,
    steps_per_epoch: int,
    *,
    seed: int = 0,
    mode: ExecutionMode = USUAL,
    device: str = "cpu",
    processes: Processes = ALONE,
    sync_bn: bool = False,
    weights: StartingWeights | None = None,
) -> tuple[Stepper, list[str]]:
    """Make the stepper: the model with weights initialised from the seed, its optimizer and weight average.

    Args:
        model: its head has the outputs that the task needs.
        recipe: resolved.
        task: makes the module and the losses; the stepper gets a copy placed on the device.
        steps_per_epoch: optimizer steps per epoch, for the schedule.
        seed: of the weights and of every step's randomness.
        mode: how the model is executed.
        device: cpu, cuda or cuda:N.
        processes: the processes that share each batch.
        sync_bn: batch norm sees the images of all processes.
        weights: initial weights; None to initialise them from the seed.

    Returns:
        The stepper, and one-line notes: settings of the recipe that do not apply to the model, assumptions
        about the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed))
        module, notes = task.model(model, rates_of(recipe))
    if weights is not None:
        notes = [*notes, *weights.notes, *task.start_from(module, model, weights)]
    if recipe.freeze == "backbone":
        freeze_backbone(module)
    module = place(module, mode, device)
    if sync_bn and processes.connected:
        module = synchronise(module)
    called = processes.parallel(executed(module, mode))
    keep_gradients = mode.graphs and recipe.accumulate > 1
    placed = task.placed(device, LAYOUTS[mode.layout])
    stepper = Stepper(module, called, placed, recipe, steps_per_epoch, seed, processes, keep_gradients)
    return stepper, notes
