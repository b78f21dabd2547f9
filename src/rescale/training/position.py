"""How far a run is."""

from dataclasses import dataclass, field
from typing import Any

from rescale.training.step import StepResult


@dataclass
class Position:
    """How far a run is, and the sums its next row of metrics will need; a checkpoint holds it as JSON."""

    step: int = 0  # optimizer steps taken
    evaluated: int = 0  # epochs whose evaluation is done
    seconds: float = 0.0  # spent in all, stops left out
    loss: float = 0.0  # from here: sums since the last row
    correct: int = 0
    images: int = 0
    elapsed: float = 0.0
    bad_images: list[str] = field(default_factory=list)  # damaged ones that were passed over, once each
    train: dict[str, Any] = field(default_factory=dict)  # the last row of training metrics
    final: dict[str, Any] = field(default_factory=dict)  # the last evaluation
    best: dict[str, Any] = field(default_factory=dict)  # the best evaluation, where one is kept

    def add(self, result: StepResult, seconds: float) -> None:
        """Count one step."""
        self.step += 1
        self.loss += result.loss * result.images
        self.correct += result.correct
        self.images += result.images
        self.elapsed += seconds

    def row(self, result: StepResult, epoch: int) -> dict[str, Any]:
        """The means since the last row; the sums begin anew."""
        found = {
            "kind": "train",
            "step": self.step,
            "epoch": epoch,
            "loss": self.loss / self.images,
            "top1": 100 * self.correct / self.images,
            "lr": result.lr,
            "grad_norm": result.grad_norm,
            "images_per_s": self.images / self.elapsed,
        }
        self.loss, self.correct, self.images, self.elapsed = 0.0, 0, 0, 0.0
        return found
