"""The training loop. Epoch, position and all randomness follow from one number, the steps taken."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from safetensors.torch import load_file

from rescale.data import Data, Source
from rescale.errors import plural
from rescale.files import write_json
from rescale.models import External
from rescale.network import Network
from rescale.outputs import RESULT
from rescale.processes import Processes
from rescale.recipes import Recipe
from rescale.tasks import Task
from rescale.training import checkpoint
from rescale.training.evaluate import Evaluation, evaluate
from rescale.training.feed import Feed
from rescale.training.format_1 import upgraded_position
from rescale.training.outcome import better, outcome
from rescale.training.position import Position
from rescale.training.predictions import FILE, write_predictions
from rescale.training.progress import Display
from rescale.training.run import Run, Settings
from rescale.training.step import Stepper
from rescale.training.tensorboard import TensorBoard
from rescale.training.weights import load_both, save_both, save_reported

BEST = "best.safetensors"


@dataclass
class TrainingLoop:
    """The training loop of one process of a run.

    All processes do the same work on their shares of the batches. Only the first one writes and prints.

    Args:
        run: the folder to write to.
        facts: content of run.json.
        described: the model, as a value.
        recipe: the resolved recipe.
        settings: how the run is executed.
        data: training, validation and minival parts.
        task: defines batches, losses and figures.
        stepper: takes optimizer steps; holds model, optimizer and average.
        feed: provides the batches.
        processes: the processes that train together.
        display: shows the progress.
        not_applied: settings of the recipe that do not apply to the model, one line each.
        position: progress of the run.
    """

    run: Run
    facts: Mapping[str, Any]
    described: Network | External
    recipe: Recipe
    settings: Settings
    data: Data
    task: Task
    stepper: Stepper
    feed: Feed
    processes: Processes
    display: Display
    not_applied: Sequence[str] = ()
    position: Position = field(default_factory=Position)

    tensorboard: TensorBoard | None = field(default=None, init=False)
    saved_at: float = field(default=0.0, init=False)
    clock: float = field(default=0.0, init=False)

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps per epoch."""
        return self.stepper.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.recipe.total_steps(self.epoch_steps)

    def start(self, restored: checkpoint.Restored) -> None:
        """Continue from a checkpoint, or start from the beginning if there is none."""
        notes = (*self.data.notes, *self.facts["notes"], *self.not_applied) if restored.state is None else ()
        for line in (*restored.broken, *notes):
            self.display.note(line)
        if restored.state is not None:
            checkpoint.load(self.stepper, restored.state, restored.parts)
            self.position = Position(**upgraded_position(restored.state["position"]))
            self.display.note(f"{self.run.path}: resuming at step {self.position.step}")
            if (started_with := self.facts.get("processes", 1)) != self.processes.count:
                self.display.note(
                    f"{plural(self.processes.count, 'process')} now, {started_with} when the run was "
                    f"started: the results will be close, not equal"
                )
        self.feed.bad_images = self.position.bad_images
        if self.processes.first:
            self.run.rewind(self.position.step, self.position.evaluated)
            self.tensorboard = TensorBoard(self.run.path / "tensorboard", self.position.step)
        self.saved_at = self.clock = time.monotonic()

    def train(self) -> None:
        """Train and evaluate, from the current position to the end of the run."""
        while True:
            step, total = self.position.step, self.total_steps
            epoch, place = divmod(step, self.epoch_steps)
            ended = step == total
            completed = epoch + (ended and place > 0)  # a run given in steps may end within an epoch
            if (ended or place == 0) and self.position.evaluated < completed:
                self.evaluate(completed, last=ended)
            if ended:
                return
            self.train_epoch(epoch, place)

    def train_epoch(self, epoch: int, place: int) -> None:
        """Train the rest of an epoch of which `place` steps are done."""
        log_steps = self.settings.log_steps or max(1, self.epoch_steps // 10)
        batches = self.feed.epoch(self.data.train, epoch, skip=place)
        for _ in range(place, min(self.epoch_steps, self.total_steps - epoch * self.epoch_steps)):
            began = time.monotonic()
            result = self.stepper(next(batches), self.position.step)
            self.position.add(result, time.monotonic() - began)
            step = self.position.step
            self.display.step(step, result, self.position.images / self.position.elapsed)
            if step % log_steps == 0 or step % self.epoch_steps == 0 or step == self.total_steps:
                self.position.train = self.position.row(result, epoch + 1)
                self.log(self.position.train)
            self.save_if_due()

    def evaluate(self, epoch: int, *, last: bool) -> None:
        """Evaluate raw and averaged weights after `epoch` epochs, if an evaluation is due."""
        if last or epoch % self.settings.eval_epochs == 0:
            on = "minival" if self.data.minival is not None else "val"
            row = {"kind": "eval", "step": self.position.step, "epoch": epoch, "on": on}
            row |= self.judge(self.data.minival or self.data.val, keep=last and self.data.minival is None)
            if self.recipe.keep_best and better(row, self.position.best, self.task.headline):
                if self.processes.first:
                    save_both(self.run.path / BEST, self.stepper.model, self.stepper.average)
                self.position.best = row
            self.position.final = row
            self.log(row)
            noisy = self.recipe.bn_momentum == 1
            self.display.evaluated(row, self.position.train, noisy=noisy)
        self.position.evaluated = epoch
        self.save_if_due()

    def judge(self, source: Source, *, keep: bool) -> dict[str, Any]:
        """The figures of the raw weights and, if there are any, of the averaged weights on a data set.

        keep: store the predictions of the reported weights.
        """
        model, average = self.stepper.model, self.stepper.average
        evaluations = {"raw": self._evaluation(source)}
        if average is not None:
            with average.swapped_in(model):
                evaluations["averaged"] = self._evaluation(source)
        *_, reported = evaluations.values()  # the averaged weights', if there are any
        if keep and self.processes.first and reported.predictions:
            write_predictions(self.run.path / FILE, source, reported.predictions)
        return {weights: evaluation.figures for weights, evaluation in evaluations.items()}

    def _evaluation(self, source: Source) -> Evaluation:
        return evaluate(
            self.stepper.model,
            self.task,
            self.feed.in_order(source),
            precision=str(self.recipe.precision),
            processes=self.processes,
        )

    def finish(self) -> None:
        """Write the reported weights and result.json: the last epoch's, or the best on minival."""
        final, model, average = self.position.final, self.stepper.model, self.stepper.average
        if self.recipe.keep_best:
            best = self.processes.from_first(lambda: load_file(self.run.path / BEST))
            load_both(best, model, average)
        if self.data.minival is not None:
            final = {"epoch": final["epoch"], "on": "val", **self.judge(self.data.val, keep=True)}
        if self.processes.first:
            save_reported(self.run.path / "model.safetensors", model, average)
            self.save()
            epochs: float = self.recipe.epochs
            if self.recipe.steps is not None:
                epochs = round(self.total_steps / self.epoch_steps, 2)
            result = outcome(
                self.described, self.recipe, self.facts, self.position, final, self.not_applied, epochs
            )
            write_json(self.run.path / RESULT, result)

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is old enough."""
        if time.monotonic() - self.saved_at >= 60 * self.settings.save_minutes:
            self.save()

    def save(self) -> None:
        """Write a checkpoint now."""
        if not self.processes.first:
            return
        now = time.monotonic()
        self.position.seconds += now - self.clock
        self.clock = now
        state = {"step": self.position.step, "position": asdict(self.position)}
        checkpoint.save(self.run.path / "checkpoints", self.stepper, state)
        self.saved_at = time.monotonic()

    def close(self) -> None:
        """Write pending TensorBoard events."""
        if self.tensorboard:
            self.tensorboard.close()

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl and to the TensorBoard events."""
        if self.tensorboard:  # in the first process
            self.run.log(row)
            self.tensorboard.log(row)
