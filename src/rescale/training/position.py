"""The progress of a run."""

from dataclasses import dataclass, field
from typing import Any

from rescale.training.step import StepResult


@dataclass
class Position:
    """The progress of a run, and the sums for its next row of metrics. Checkpoints store it as JSON."""

    step: int = 0  # optimizer steps taken
    evaluated: int = 0  # epochs whose evaluation is done
    seconds: float = 0.0  # total time, without interruptions
    images: int = 0  # this and the next two: since the last row of metrics
    elapsed: float = 0.0
    sums: dict[str, list[float]] = field(default_factory=dict)  # [sum, weight] of loss and figures
    bad_images: list[str] = field(default_factory=list)  # skipped damaged images, each once
    train: dict[str, Any] = field(default_factory=dict)  # the last row of training metrics
    final: dict[str, Any] = field(default_factory=dict)  # the last evaluation
    best: dict[str, Any] = field(default_factory=dict)  # the best evaluation, if it is kept

    def add(self, result: StepResult, seconds: float) -> None:
        """Count one step."""
        self.step += 1
        self.images += result.images
        self.elapsed += seconds
        pairs = {"loss": (result.loss * result.images, result.images), **result.sums}
        for name, (value, weight) in pairs.items():
            before = self.sums.get(name, [0.0, 0.0])
            self.sums[name] = [before[0] + value, before[1] + weight]

    def row(self, result: StepResult, epoch: int) -> dict[str, Any]:
        """The means since the last row; resets the sums."""
        row = {
            "kind": "train",
            "step": self.step,
            "epoch": epoch,
            **{name: value / weight for name, (value, weight) in self.sums.items()},
            "lr": result.lr,
            "grad_norm": result.grad_norm,
            "images_per_s": self.images / self.elapsed,
        }
        self.sums, self.images, self.elapsed = {}, 0, 0.0
        return row
