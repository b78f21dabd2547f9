"""What a terminal shows while a study runs; elsewhere one plain line an event."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rescale.studies.folder import Failure
from rescale.studies.plan import Item, Plan
from rescale.training.run import Run


class Display:
    """A bar for the study and one for each training that runs; lines for what has ended. All on stderr."""

    def __init__(self, plan: Plan, *, shown: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not shown, highlight=False)
        self.plan = plan
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
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
        """So many runs had finished before."""
        self.bars.update(self.all, completed=done)
        if done:
            self.console.print(f"{done} of {len(self.plan.items)} trainings were done before")

    def started(self, item: Item) -> None:
        """A training has begun."""
        self.tasks[item] = self.bars.add_task(f"  {_title(item)}", total=None, note="")

    def tick(self, running: Mapping[Item, Path]) -> None:
        """Read how far each training is."""
        if self.bars.disable:
            return
        for item, path in running.items():
            done, total, note = progress_of(path)
            self.bars.update(self.tasks[item], completed=done, total=total, note=note)

    def finished(self, item: Item, result: Mapping[str, Any]) -> None:
        """A training has ended well."""
        self._close(item)
        self.console.print(f"{_title(item)}: top-1 {result['top1']:.2f} % in {result['seconds']:.0f} s")

    def again(self, item: Item) -> None:
        """A killed training will be started once more."""
        self._remove(item)
        self.console.print(f"{_title(item)}: its process was killed; it is resumed once")

    def failed(self, failure: Failure) -> None:
        """A training or a timing has failed."""
        for item in [item for item in self.tasks if (item.label, item.seed) == (failure.label, failure.seed)]:
            self._close(item)
        self.console.print(f"{failure.label}: {failure.what} failed: {failure.reason}")

    def timing(self, label: str) -> None:
        """A network's timing begins."""
        self.console.print(f"timing {label} alone on this machine")

    def _close(self, item: Item) -> None:
        self._remove(item)
        self.bars.advance(self.all)

    def _remove(self, item: Item) -> None:
        if item in self.tasks:
            self.bars.remove_task(self.tasks.pop(item))


def progress_of(run: Path) -> tuple[int, int | None, str]:
    """Epochs done, epochs in all (None before the run has begun) and a note, from a run's own files."""
    try:
        epochs = int(re.findall(r"^epochs: (\d+)", (run / "recipe.yaml").read_text(), re.MULTILINE)[0])
        rows = Run(run).metrics()
    except (OSError, IndexError):
        return 0, None, "beginning"
    if not rows:
        return 0, epochs, ""
    last = rows[-1]
    done = last["epoch"] - (last["kind"] == "train")  # an epoch that is still under way
    judged = [row for row in rows if row["kind"] == "eval"]
    if not judged:
        return done, epochs, f"train loss {last['loss']:.2f}"
    figures = judged[-1].get("averaged") or judged[-1]["raw"]
    return done, epochs, f"top-1 {figures['top1']:.1f} %"


def _title(item: Item) -> str:
    return f"{item.label} seed {item.seed}"
