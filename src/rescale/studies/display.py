"""Progress of a study: bars on a terminal; elsewhere one plain line for each event."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from rescale.errors import plural
from rescale.figure import Figure
from rescale.studies.folder import Failure
from rescale.studies.plan import Item, Plan
from rescale.training.run import Run

_LENGTH = re.compile(r"^(epochs|steps): (\d+)", re.MULTILINE)  # in recipe.yaml


class Display:
    """A bar for the study and one for each running training; a line for each that ends. All on stderr."""

    def __init__(self, plan: Plan, *, shown: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not shown, highlight=False)
        self.console.soft_wrap = not self.console.is_terminal  # in a log, an event is a line
        self.plan = plan
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),  # only the bars shrink
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            console=self.console,
            disable=not (shown and self.console.is_terminal),
        )
        self.all = self.bars.add_task("trainings", total=len(plan.items), note="")
        self.tasks: dict[Item, Any] = {}

    def __enter__(self) -> "Display":
        self.bars.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.bars.stop()

    def begin(self, done: int) -> None:
        """Show how many runs an earlier call has finished."""
        self.bars.update(self.all, completed=done)
        if done:
            self.console.print(f"already finished: {done} of {plural(len(self.plan.items), 'training')}")

    def started(self, item: Item) -> None:
        """A training has started."""
        self.tasks[item] = self.bars.add_task(f"  {_title(item)}", total=None, note="")

    def tick(self, running: Mapping[Item, Path]) -> None:
        """Update the bars of the running trainings."""
        if self.bars.disable:
            return
        for item, path in running.items():
            done, total, note = progress_of(path)
            self.bars.update(self.tasks[item], completed=done, total=total, note=note)

    def finished(self, item: Item, result: Mapping[str, Any]) -> None:
        """A training has finished."""
        self._close(item)
        figure = Figure(**result["headline"])
        value = figure.text(result["figures"][figure.name])
        self.console.print(f"{_title(item)}: {value} in {result['seconds']:.0f} s")

    def again(self, item: Item) -> None:
        """A killed training will be resumed."""
        self._remove(item)
        self.console.print(f"{_title(item)}: its process was killed; it is resumed once")

    def failed(self, failure: Failure) -> None:
        """A training or a timing has failed."""
        for item in [item for item in self.tasks if (item.label, item.seed) == (failure.label, failure.seed)]:
            self._close(item)
        self.console.print(f"{failure.label}: {failure.what} failed: {failure.reason}")

    def timing(self, label: str) -> None:
        """The timing of a network starts."""
        self.console.print(f"timing {label} alone on this machine")

    def _close(self, item: Item) -> None:
        self._remove(item)
        self.bars.advance(self.all)

    def _remove(self, item: Item) -> None:
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


def _title(item: Item) -> str:
    return f"{item.label} seed {item.seed}"
