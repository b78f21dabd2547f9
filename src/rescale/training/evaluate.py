"""Judge a model on a data set, with raw or averaged weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from rescale.tasks import Task
from rescale.training.step import autocast


def evaluate(
    model: nn.Module,
    task: Task,
    batches: Iterable[Any],
    *,
    device: str = "cpu",
    precision: str = "fp32",
    check: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The task's figures over all batches. check is called before each batch and may raise to stop."""
    was_training = model.training
    model.eval()
    metric = task.metric()
    try:
        with torch.inference_mode(), autocast(device, precision):
            for batch in batches:
                check()
                metric.update(model, batch)
    finally:
        model.train(was_training)
    return metric.compute()
