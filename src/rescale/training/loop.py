"""The training loop. Epoch, position and all randomness follow from one number, the steps taken."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

from safetensors.torch import load_file

from rescale import machine
from rescale.data import Batch, Data, Source, batches
from rescale.data.augment import eval_transform, train_transform
from rescale.data.loading import bad_image_limit, check_limit
from rescale.errors import JobError
from rescale.execution import ExecutionMode
from rescale.files import write_json
from rescale.tasks import Classification
from rescale.training import checkpoint
from rescale.training.assemble import assemble
from rescale.training.evaluate import evaluate
from rescale.training.outcome import outcome, reported
from rescale.training.position import Position
from rescale.training.processes import ALONE, Processes, Status
from rescale.training.progress import Display
from rescale.training.run import Run, Settings
from rescale.training.stop import StopRequest
from rescale.training.tensorboard import TensorBoard
from rescale.training.weights import save_both, save_reported, take_both

BEST = "best.safetensors"


class Stopped(JobError):
    """A signal asked the run to stop; it was saved."""


class Job:
    """One process's work on one run: the parts, made once, and the loop over them.

    All processes do the same on their shares of the batches; the first alone writes and speaks.
    """

    def __init__(
        self, run: Run, data: Data, stop: StopRequest, quiet: bool, processes: Processes = ALONE
    ) -> None:
        facts, recipe, self.described = processes.from_first(lambda: (run.facts, run.recipe, run.model))
        self.run, self.data, self.stop, self.seed = run, data, stop, facts["seed"]
        self.settings, self.recipe, self.processes = Settings(**facts["settings"]), recipe, processes
        self.began_with = facts.get("processes", 1)
        machine.keep_memory()
        as_before = self.began_with == processes.count
        machine.set_threads(self.settings.threads if as_before else processes.share_of_cores())
        self.device = processes.take_device(self.settings.device)
        machine.use_device(self.device)
        task = Classification(data.mean, data.std, float(recipe.label_smoothing), recipe.mixup, self.device)
        self.steps = len(data.train) // recipe.batch
        mode = ExecutionMode.parse(self.settings.fast)
        self.stepper, self.not_applied = assemble(
            self.described,
            recipe,
            task,
            self.steps,
            seed=self.seed,
            mode=mode,
            processes=processes,
            sync_bn=self.settings.sync_bn,
        )
        self.model, self.average, self.task = self.stepper.model, self.stepper.average, self.stepper.task
        self.at = Position()
        self.log_steps = self.settings.log_steps or max(1, self.steps // 10)
        self.display = Display(self.described.name, recipe.epochs, self.steps, quiet or not processes.first)
        self.tensorboard: TensorBoard | None = None

    def start(self) -> None:
        """Go to where the newest checkpoint is, or to the beginning."""
        folder = self.run.path / "checkpoints"
        state, parts, broken = self.processes.from_first(lambda: checkpoint.newest(folder))
        for line in (*broken, *(self.not_applied if state is None else ())):
            self.display.note(line)
        if state is not None:
            checkpoint.load(self.stepper, state, parts)
            self.at = Position(**state["position"])
            self.display.note(f"{self.run.path}: going on from step {self.at.step}")
            if self.began_with != self.processes.count:
                self.display.note(
                    f"now {self.processes.count} processes, at the beginning {self.began_with}: the end will "
                    f"be close, not equal"
                )
        if self.processes.first:
            self.run.rewind(self.at.step, self.at.evaluated)
            self.tensorboard = TensorBoard(self.run.path / "tensorboard", self.at.step)
        self.saved = self.clock = time.monotonic()

    def train(self) -> None:
        """Epochs and their evaluations, from wherever the run is to its end."""
        while True:
            epoch, position = divmod(self.at.step, self.steps)
            if position == 0 and self.at.evaluated < epoch:
                self.evaluate(epoch)
            if epoch == self.recipe.epochs:
                return
            self.train_epoch(epoch, position)

    def train_epoch(self, epoch: int, position: int) -> None:
        """The rest of an epoch of which `position` steps are done."""
        stream = self.load(self.data.train, epoch, skip=position * self.recipe.accumulate)
        for _ in range(position, self.steps):
            began = time.monotonic()
            taken = self.take(stream, self.recipe.accumulate)
            result = self.stepper(taken, self.at.step)
            self.at.add(result, time.monotonic() - began)
            self.display.step(self.at.step, result, self.at.images / self.at.elapsed)
            if self.at.step % self.log_steps == 0 or self.at.step % self.steps == 0:
                self.at.train = self.at.row(result, epoch + 1)
                self.log(self.at.train)
            self.save_if_due()

    def evaluate(self, epoch: int) -> None:
        """After `epoch` epochs: judge raw and averaged weights, where it is time to."""
        if epoch % self.settings.eval_epochs == 0 or epoch == self.recipe.epochs:
            on = "minival" if self.data.minival is not None else "val"
            row = {"kind": "eval", "step": self.at.step, "epoch": epoch, "on": on}
            row |= self.figures(self.data.minival or self.data.val)
            if self.recipe.keep_best and reported(row)["top1"] > reported(self.at.best)["top1"]:
                if self.processes.first:
                    save_both(self.run.path / BEST, self.model, self.average)
                self.at.best = row
            self.at.final = row
            self.log(row)
            self.display.evaluated(row, self.at.train, noisy=self.recipe.bn_momentum == 1)
        self.at.evaluated = epoch
        self.save_if_due()

    def figures(self, source: Source) -> dict[str, Any]:
        """Figures on a data set with the raw weights and, where there are such, the averaged ones."""

        def judge() -> dict[str, float]:
            precision, processes = self.recipe.precision, self.processes
            stream = self.shares(source)
            return evaluate(
                self.model, self.task, stream, device=self.device, precision=precision, processes=processes
            )

        found = {"raw": judge()}
        if self.average is not None:
            with self.average.swapped_in(self.model):
                found["averaged"] = judge()
        return found

    def finish(self) -> None:
        """Write the reported weights and result.json: the last epoch's, or the best on minival."""
        final = self.at.final
        if self.recipe.keep_best:
            best = self.processes.from_first(lambda: load_file(self.run.path / BEST))
            take_both(best, self.model, self.average)
        if self.data.minival is not None:
            final = {"epoch": final["epoch"], "on": "val", **self.figures(self.data.val)}
        if self.processes.first:
            save_reported(self.run.path / "model.safetensors", self.model, self.average)
            self.save()
            facts, at = self.run.facts, self.at
            found = outcome(self.described, self.recipe, facts, at, final, self.not_applied)
            write_json(self.run.path / "result.json", found)

    def load(self, source: Source, epoch: int | None, skip: int = 0) -> Iterator[Batch]:
        """This process's share of the micro-batches: an epoch's augmented training images, or (None) all
        images in their order."""
        self.bad, self.bad_limit = set[str](), bad_image_limit(len(source))
        transform = eval_transform if epoch is None else train_transform
        return batches(
            source,
            transform(self.recipe, self.described.resolution),
            batch=self.recipe.batch // self.recipe.accumulate,
            seed=self.seed,
            epoch=epoch or 0,
            skip=skip,
            share=(self.processes.rank, self.processes.count),
            workers=self.settings.workers,
            shuffle=epoch is not None,
            drop_last=epoch is not None,
            on_bad_image=self.settings.on_bad_image,
            device=self.task.device,
        )

    def take(self, stream: Iterator[Batch], count: int) -> list[Batch]:
        """The next `count` batches, once all processes have theirs; fewer at the stream's end.

        Raises, in all of them alike, where one cannot go on (JobError) or was asked to stop (Stopped).
        """
        error, taken = self.processes.deserted, []
        try:
            taken = list(islice(stream, count))
        except JobError as raised:
            error = raised
        mine = Status(error, self.stop.asked, tuple(line for batch in taken for line in batch.bad))
        words = self.processes.synchronize(mine)
        for word in words:
            self.note_bad(word.bad)
        for word in words:
            if word.asked:
                raise Stopped(
                    f"{word.asked}: stopped and saved at step {self.at.step}; "
                    f"go on with: rescale train --resume {self.run.path}"
                )
        return taken

    def shares(self, source: Source) -> Iterator[Batch]:
        """This process's batches of a data set to judge on; as many are asked for in every process."""
        stream = self.load(source, None)
        for _ in range(math.ceil(len(source) * self.recipe.accumulate / self.recipe.batch)):
            yield from self.take(stream, 1)

    def note_bad(self, lines: tuple[str, ...]) -> None:
        """Remember and name the damaged images that were passed over; JobError where they are too many."""
        self.bad.update(lines)
        for line in lines:
            if line not in self.at.bad_images:
                self.at.bad_images.append(line)
                self.display.note(f"skipped: {line}")
        check_limit(self.bad, self.bad_limit)

    def save_if_due(self) -> None:
        """Save where the last checkpoint is old enough."""
        if time.monotonic() - self.saved >= 60 * self.settings.save_minutes:
            self.save()

    def save(self) -> None:
        """Write a checkpoint now."""
        if not self.processes.first:
            return
        self.tick()
        state = {"step": self.at.step, "position": asdict(self.at)}
        checkpoint.save(self.run.path / "checkpoints", self.stepper, state)
        self.saved = time.monotonic()

    def close(self) -> None:
        """Write what is still waiting."""
        if self.tensorboard:
            self.tensorboard.close()

    def tick(self) -> None:
        """Add the time since the last tick."""
        now = time.monotonic()
        self.at.seconds += now - self.clock
        self.clock = now

    def log(self, row: dict[str, Any]) -> None:
        """A row of metrics, to both places."""
        if self.tensorboard:  # in the first process
            self.run.log(row)
            self.tensorboard.log(row)
