"""Evaluate a model on a data set; used in training and by `rescale eval`."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from rescale.data import Batch
from rescale.processes import ALONE, Processes
from rescale.tasks import Evaluator, Task
from rescale.training.step import autocast


class Evaluation(NamedTuple):
    """The results of all evaluators.

    figures: values by name. predictions: columns with one row per sample; empty if none are kept.
    """

    figures: dict[str, float]
    predictions: dict[str, np.ndarray]


def evaluate(
    model: nn.Module,
    task: Task,
    stream: Iterable[Batch],
    *,
    precision: str = "fp32",
    processes: Processes = ALONE,
    evaluators: Sequence[Evaluator] | None = None,
    train: Callable[[], Iterable[Batch]] = tuple,
) -> Evaluation:
    """Evaluate a model without changing it.

    Args:
        model: on the task's device; the mode of each of its modules is restored.
        task: provides the evaluators if `evaluators` is None.
        stream: this process's batches of the data set.
        precision: of matrix products: fp32, bf16 or fp16.
        processes: processes whose figures are combined; all of them must call this.
        evaluators: evaluators that have not accumulated anything yet.
        train: opens a stream of the training data, for evaluators that need it.
    """
    chosen = list(evaluators) if evaluators is not None else task.evaluators()
    modes = [(module, module.training) for module in model.modules()]  # frozen parts stay in evaluation mode
    model.eval()
    try:
        with torch.inference_mode(), autocast(task.device, precision):
            for evaluator in chosen:
                evaluator.prepare(model, train)
            for batch in stream:
                for evaluator in chosen:
                    evaluator.update(model, batch)
    finally:
        for module, is_training in modes:
            module.training = is_training
    figures: dict[str, float] = {}
    predictions: dict[str, np.ndarray] = {}
    for evaluator in chosen:
        evaluator.combine(processes.gather)
        figures |= evaluator.compute()
        predictions |= evaluator.predictions()
    return Evaluation(figures, predictions)
