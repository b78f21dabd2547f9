"""What a person sees while a run goes on: a bar in a terminal, a line an epoch anywhere."""

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rescale.training.step import StepResult


class Display:
    """Shows steps and evaluations on standard error. The bar is silent where that is no terminal."""

    def __init__(self, name: str, epochs: int, steps_per_epoch: int, quiet: bool = False) -> None:
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task(name, total=epochs * steps_per_epoch, figures="")

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.bar.stop()

    def step(self, done: int, result: StepResult, images_per_s: float) -> None:
        """Move the bar to `done` steps."""
        top1 = 100 * result.correct / result.images
        figures = f"loss {result.loss:.3f}  top-1 {top1:.1f} %  {images_per_s:.0f} images/s"
        self.bar.update(self.task, completed=done, figures=figures)

    def evaluated(self, row: dict[str, Any], train: dict[str, Any], noisy: bool) -> None:
        """One line for an evaluation. noisy: raw weights keep the last batch's batch-norm statistics."""
        line = f"epoch {row['epoch']}/{self.epochs}"
        if train:
            line += f"  train loss {train['loss']:.3f}, top-1 {train['top1']:.1f} %"
        line += f"  {row['on']}: {row['raw']['top1']:.2f} % raw" + (
            " (noisy: last batch's norm)" if noisy else ""
        )
        if "averaged" in row:
            line += f", {row['averaged']['top1']:.2f} % averaged"
        if train:
            line += f"  {train['images_per_s']:.0f} images/s"
        self.console.print(line)

    def note(self, text: str) -> None:
        """A line worth reading, above the bar."""
        self.console.print(text)
