"""Progress of a study: bars on a terminal; elsewhere one plain line for each event."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Column

from rescale.duration import clock, remaining
from rescale.errors import plural
from rescale.figure import Figure
from rescale.studies.folder import Failure
from rescale.studies.plan import Item, Plan
from rescale.terminal import console, text_column
from rescale.training.run import Run

_LENGTH = re.compile(r"^(epochs|steps): (\d+)", re.MULTILINE)  # in recipe.yaml


class Display:
    """A bar for the study and one for each running training; a line for each that ends. All on stderr."""

    def __init__(self, plan: Plan, *, shown: bool = True) -> None:
        self.console = console(stderr=True, quiet=not shown)
        self.console.soft_wrap = not self.console.is_terminal  # in a log, an event is a line
        self.plan = plan
        self.bars = Progress(
            text_column("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),  # only the bars shrink
            text_column("{task.fields[note]}"),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            console=self.console,
            disable=not (shown and self.console.is_terminal),
        )
        self.all = self.bars.add_task("trainings", total=len(plan.items), note="")
        self.tasks: dict[Item, Any] = {}
        self.running: dict[Item, Path] = {}
        self.ended = self.earlier = 0  # trainings: all that have ended, and those of earlier calls among them
        self.parts_at_start: dict[Item, float] = {}  # of this call's trainings: resumed ones begin above 0
        self.began = time.monotonic()

    def __enter__(self) -> "Display":
        self.bars.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.bars.stop()

    def begin(self, done: int) -> None:
        """Show how many runs an earlier call has finished."""
        self.bars.update(self.all, completed=done)
        self.earlier = self.ended = done
        if done:
            self.console.print(f"already finished: {done} of {plural(len(self.plan.items), 'training')}")

    def taken_over(self, names: Mapping[Path, int]) -> None:
        """Runs were taken over from other studies; their number by study."""
        for path, count in names.items():
            self.console.print(f"taken over from {path}: {plural(count, 'finished run')}")

    def started(self, item: Item, path: Path) -> None:
        """A training has started or is resumed in the folder `path`."""
        self.tasks[item] = self.bars.add_task(f"  {_title(item)}", total=None, note="")
        self.running[item] = path
        self.parts_at_start.setdefault(item, _part_done(path))

    def tick(self) -> None:
        """Update the bars."""
        if self.bars.disable:
            return
        for item, path in self.running.items():
            done, total, note = progress_of(path)
            self.bars.update(self.tasks[item], completed=done, total=total, note=note)
        self.bars.update(self.all, note=self._left())

    def finished(self, item: Item, result: Mapping[str, Any]) -> None:
        """A training has finished."""
        self._close(item)
        figure = Figure(**result["headline"])
        value = figure.text(result["figures"][figure.name])
        line = f"{_title(item)}: {value} in {clock(result['seconds'])}"
        self.console.print(", ".join(filter(None, (line, self._left()))))

    def again(self, item: Item, why: str) -> None:
        """A training that has ended will be started again."""
        self._remove(item)
        self.console.print(f"{_title(item)}: {why}")

    def failed(self, failure: Failure) -> None:
        """A training or a timing has failed."""
        for item in [item for item in self.tasks if (item.label, item.seed) == (failure.label, failure.seed)]:
            self._close(item)
        self.console.print(f"{failure.label}: {failure.what} failed: {failure.reason}")

    def timing(self, label: str, number: int, of: int) -> None:
        """The timing of a network starts, the `number`th of `of`."""
        self.console.print(f"timing {label} alone on this machine ({number} of {of})")

    def _left(self) -> str:
        """How long the trainings will still take, if the networks are equally expensive; may be empty."""
        done = self.ended + sum(map(_part_done, self.running.values()))
        earlier = self.earlier + sum(self.parts_at_start.values())
        return remaining(time.monotonic() - self.began, done - earlier, len(self.plan.items) - earlier)

    def _close(self, item: Item) -> None:
        self._remove(item)
        self.ended += 1
        self.bars.advance(self.all)

    def _remove(self, item: Item) -> None:
        self.running.pop(item, None)
        if item in self.tasks:
            self.bars.remove_task(self.tasks.pop(item))


def progress_of(run: Path) -> tuple[int, int | None, str]:
    """Epochs done, epochs in all (None before the run has started) and a note, from the run's own files.

    Of a run whose length is in steps: steps.
    """
    try:
        lengths = dict(_LENGTH.findall((run / "recipe.yaml").read_text()))
        headline = Run(run).headline
        rows = Run(run).metrics()
    except OSError:
        return 0, None, "starting"
    unit = "steps" if "steps" in lengths else "epochs"
    total = int(lengths[unit])
    if not rows:
        return 0, total, ""
    last = rows[-1]
    under_way = last["kind"] == "train"  # the epoch of this row has not ended
    done = last["step"] if unit == "steps" else last["epoch"] - under_way
    evaluations = [row for row in rows if row["kind"] == "eval"]
    if not evaluations:
        return done, total, f"train loss {last['loss']:.2f}"
    figures = evaluations[-1].get("averaged") or evaluations[-1]["raw"]
    return done, total, headline.text(figures[headline.name])


def _part_done(run: Path) -> float:
    """The part of a training that is done, from 0 to 1."""
    done, total, _ = progress_of(run)
    return done / total if total else 0.0


def _title(item: Item) -> str:
    return f"{item.label} seed {item.seed}"
