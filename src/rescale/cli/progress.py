"""Progress of a command on standard error: a bar on a terminal, elsewhere whole lines with the time."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 10.0  # seconds between two lines where there is no terminal

Advance = Callable[[int, int, str], None]


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Yield a function that shows how far the command is.

    The function takes the number of parts done, the number of all, and what was done last: an empty text, or
    a result, which always gets a line.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _lines(title)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def advance(done: int, of: int, result: str) -> None:
            bar.update(task, completed=done, total=of)
            if result:
                console.print(result, markup=False)

        yield advance


def _lines(title: str) -> Advance:
    """Print a line for each result, for the last part, and otherwise every `EVERY` seconds."""
    began = printed = time.monotonic()

    def advance(done: int, of: int, result: str) -> None:
        nonlocal printed
        now = time.monotonic()
        if done and (result or done == of or now - printed >= EVERY):
            printed, elapsed = now, now - began
            left = "" if done == of else f", about {clock(elapsed / done * (of - done))} left"
            about = f": {result}" if result else ""
            print(
                f"{title}: {done} of {of}{about}, after {clock(elapsed)}{left}", file=sys.stderr, flush=True
            )

    return advance


def clock(seconds: float) -> str:
    """75 -> 1:15 (minutes and seconds); 3675 -> 1:01:15."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
