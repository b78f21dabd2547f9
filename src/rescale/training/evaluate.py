"""Judge a model on a data set, with raw or averaged weights."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from rescale.tasks import Task
from rescale.training.processes import ALONE, Processes
from rescale.training.step import autocast


def evaluate(
    model: nn.Module,
    task: Task,
    batches: Iterable[Any],
    *,
    device: str = "cpu",
    precision: str = "fp32",
    processes: Processes = ALONE,
) -> dict[str, float]:
    """The task's figures over the batches of all processes; batches: those of this one."""
    was_training = model.training
    model.eval()
    metric = task.metric()
    try:
        with torch.inference_mode(), autocast(device, precision):
            for batch in batches:
                metric.update(model, batch)
    finally:
        model.train(was_training)
    metric.combine(processes.gather)
    return metric.compute()
