"""From a model, a recipe and a task to what takes optimizer steps: training and timing begin here."""

from dataclasses import replace

import torch

from rescale.execution import USUAL, ExecutionMode
from rescale.models import External, make
from rescale.models.execute import LAYOUTS, executed, place
from rescale.network import Network
from rescale.recipes import Recipe
from rescale.recipes.rates import rates_of
from rescale.tasks import Classification
from rescale.training.norms import synchronise
from rescale.training.processes import ALONE, Processes
from rescale.training.step import Stepper, seed_of


def assemble(
    model: Network | External,
    recipe: Recipe,
    task: Classification,
    steps_per_epoch: int,
    *,
    seed: int = 0,
    mode: ExecutionMode = USUAL,
    processes: Processes = ALONE,
    sync_bn: bool = False,
) -> tuple[Stepper, list[str]]:
    """The model with weights drawn from the seed, in the mode and on the task's device, with its optimizer
    and average; and what of the recipe does not apply to it, one line each.

    processes: those that share each batch. sync_bn: batch norm sees the images of all of them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed))
        module, missed = make(model, rates_of(recipe))
    module = place(module, mode, task.device)
    if sync_bn and processes.connected:
        module = synchronise(module)
    task = replace(task, layout=LAYOUTS[mode.layout])
    called = processes.parallel(executed(module, mode))
    keep = mode.graphs and recipe.accumulate > 1
    return Stepper(module, called, task, recipe, steps_per_epoch, seed, processes, keep), missed
