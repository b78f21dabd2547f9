"""The progress of a run: a bar on a terminal, and one line per evaluation."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rescale.figure import Figure
from rescale.terminal import console, text_column
from rescale.training.step import StepResult

FIGURES = 69  # characters of a line beside the name: a short bar, steps, figures and the remaining time


class Display:
    """Shows steps and evaluations on standard error. The bar is shown only on a terminal."""

    def __init__(self, name: str, steps: int, steps_per_epoch: int, headline: Figure, quiet: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
        from rich.table import Column

        self.epochs = -(-steps // steps_per_epoch)
        self.headline = headline
        self.console = console(stderr=True, quiet=quiet)
        self.console.soft_wrap = not self.console.is_terminal  # in a log, an event is a line
        self.bar = Progress(
            text_column("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),  # only the bar shrinks
            text_column("{task.fields[figures]}"),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
            transient=True,
        )
        title = name if len(name) + FIGURES <= self.console.width else "training"
        self.task = self.bar.add_task(title, total=steps, figures="")

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.bar.stop()

    def step(self, done: int, result: StepResult, images_per_s: float) -> None:
        """Set the bar to `done` steps."""
        means = {name: total / weight for name, (total, weight) in result.sums.items() if weight}
        figures = f"loss {result.loss:.3f}{self._training(means)}  {images_per_s:.0f} images/s"
        self.bar.update(self.task, completed=done, figures=figures)

    def evaluated(self, row: Mapping[str, Any], train: Mapping[str, Any], *, noisy: bool) -> None:
        """Print a line for an evaluation. noisy: raw weights keep the last batch's batch-norm statistics."""
        figure = self.headline
        line = f"epoch {row['epoch']}/{self.epochs}"
        if train:
            line += f"  train loss {train['loss']:.3f}{self._training(train)}"
        line += f"  {row['on']}: {figure.number(row['raw'][figure.name])} raw" + (
            " (noisy: last batch's norm)" if noisy else ""
        )
        if "averaged" in row:
            line += f", {figure.number(row['averaged'][figure.name])} averaged"
        if train:
            line += f"  {train['images_per_s']:.0f} images/s"
        self.console.print(line)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text)

    def _training(self, means: Mapping[str, Any]) -> str:
        """The headline figure of training, if the task computes it."""
        if self.headline.name not in means:
            return ""
        return f"  {self.headline.text(means[self.headline.name])}"
