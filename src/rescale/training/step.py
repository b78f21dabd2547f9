"""One optimizer step of a recipe: forward, backward, update, average. Timing runs this very code."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from rescale.data import Batch
from rescale.errors import JobError
from rescale.models.head import train_mode
from rescale.optim.averaging import Average
from rescale.optim.optimizers import make_optimizer
from rescale.optim.schedule import learning_rate
from rescale.processes import ALONE, Processes
from rescale.recipes import Recipe
from rescale.tasks import Task
from rescale.training.norms import average_statistics, own_norms

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class StepResult(NamedTuple):
    """What one step did, in all processes.

    loss: mean over its images. sums: the task's figures of training, (sum, weight) by name.
    """

    loss: float
    sums: dict[str, tuple[float, float]]
    images: int
    lr: float
    grad_norm: float


class Stepper:
    """Takes optimizer steps; `assemble` creates it.

    A checkpoint stores the state of the model, the optimizer, the average and the scaler. All randomness of a
    step (dropout, stochastic depth, mixup, CutMix) is derived from (seed, step, micro-batch, process). After
    a step the model is the same in all processes, including batch norm's statistics.

    executed: called for the model's outputs: the model, or a compiled or parallel form with the same weights.
    keep_gradients: keep their memory between steps. CUDA graphs, which reuse the memory of their outputs,
    need it to accumulate several micro-batches.
    """

    def __init__(
        self,
        model: nn.Module,
        executed: nn.Module,
        task: Task,
        recipe: Recipe,
        steps_per_epoch: int,
        seed: int = 0,
        processes: Processes = ALONE,
        keep_gradients: bool = False,
    ) -> None:
        self.model, self.executed, self.task, self.recipe = model, executed, task, recipe
        self.optimizer = make_optimizer(model, recipe)
        self.average = Average(model, recipe.ema, ramp=recipe.ema_ramp) if recipe.ema else None
        self.steps_per_epoch, self.seed, self.device = steps_per_epoch, seed, task.device
        self.processes = processes
        self.norms = own_norms(model) if processes.connected else []
        self.rehearsed = not processes.connected
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.keep_gradients = keep_gradients
        if keep_gradients:
            for parameter in self.parameters:
                parameter.grad = torch.zeros_like(parameter)
        kind = task.device.split(":", maxsplit=1)[0]
        self.scaler = torch.amp.GradScaler(kind, enabled=recipe.precision == "fp16")

    def __call__(self, batches: Sequence[Batch], step: int) -> StepResult:
        """Take step number `step` (from 0) on this process's share of `recipe.accumulate` micro-batches.

        Raises JobError before the update if the loss or a gradient is not finite.
        """
        train_mode(self.model)
        if not self.rehearsed:
            self._rehearse(batches[-1])
        lr = learning_rate(self.recipe, step, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        loss, images = 0.0, 0
        sums: dict[str, tuple[float, float]] = {}
        for i, batch in enumerate(batches):
            seed = seed_of(self.seed, step, i, self.processes.rank)  # a last 0 changes nothing
            torch.default_generator.manual_seed(seed)
            if self.device.startswith("cuda"):
                torch.cuda.manual_seed(seed)
            with self.processes.reducing(self.executed, last=i == len(batches) - 1):
                with autocast(self.device, self.recipe.precision):
                    losses = self.task.losses(self.executed, batch, seed, self.processes)
                self.scaler.scale(losses.loss / len(batches)).backward()
            loss += float(losses.loss.detach()) / len(batches)
            images += batch.count
            for name, (value, weight) in losses.sums.items():
                before = sums.get(name, (0.0, 0.0))
                sums[name] = before[0] + float(value), before[1] + float(weight)
        loss, images, sums = self._totals(loss, images, sums)
        norm = self._update(loss, step)
        average_statistics(self.norms)
        if self.average is not None:
            self.average.update(step + 1)
        return StepResult(loss, sums, images, lr, norm)

    def _rehearse(self, batch: Batch) -> None:
        """Run both passes on a batch and discard the result.

        DistributedDataParallel rearranges the gradients after its first backward pass, and with three or more
        processes their arrangement decides the order of summation. Without this, a resumed run would sum the
        gradients of its first step in another order than an uninterrupted run.
        """
        values = [buffer.clone() for buffer in self.model.buffers()]
        with autocast(self.device, self.recipe.precision):
            loss = self.task.losses(self.executed, batch, 0, self.processes).loss
        loss.backward()
        self.optimizer.zero_grad(set_to_none=not self.keep_gradients)
        with torch.no_grad():
            for buffer, value in zip(self.model.buffers(), values, strict=True):
                buffer.copy_(value)
        self.rehearsed = True

    def _totals(
        self, loss: float, images: int, sums: dict[str, tuple[float, float]]
    ) -> tuple[float, int, dict[str, tuple[float, float]]]:
        """The step's figures over all processes, which have equal shares."""
        flat = [number for pair in sums.values() for number in pair]
        loss, all_images, *totals = self.processes.sums(loss, images, *flat)
        pairs = zip(totals[::2], totals[1::2], strict=True)
        return loss / self.processes.count, int(all_images), dict(zip(sums, pairs, strict=True))

    def _update(self, loss: float, step: int) -> float:
        """Clip, check, step; returns the norm of the gradient before clipping."""
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        total = torch.nn.utils.get_total_norm(gradients)
        norm = float(total)
        # under fp16 scaled gradients may overflow: the scaler then skips the step and lowers the scale
        if not math.isfinite(loss) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's norm is {norm}"
            raise JobError(
                f"step {step}: the {what}; stopped before the update. Lower lr (now "
                f"{self.optimizer.param_groups[0]['lr']:.4g}), lengthen warmup_epochs or set clip_grad=1"
            )
        if self.recipe.clip_grad:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.recipe.clip_grad, total)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=not self.keep_gradients)
        return norm


def autocast(device: str, precision: str) -> AbstractContextManager:
    """A context in which matrix products run in bfloat16 or float16; no change for fp32."""
    if precision not in DTYPES:
        return nullcontext()
    return torch.autocast(device.split(":", maxsplit=1)[0], DTYPES[precision])


def seed_of(*numbers: int) -> int:
    """A 63-bit seed of some numbers, such as (seed, step): close numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
