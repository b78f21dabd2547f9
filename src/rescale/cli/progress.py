"""Progress of a command on standard error: a bar on a terminal, elsewhere whole lines with the time."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rescale.duration import clock, remaining

EVERY = 10.0  # seconds between two lines where there is no terminal

Advance = Callable[[int, int, str], None]


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Yield a function that shows how far the command is.

    The function takes the number of parts done, the number of all, and what was done last: an empty text, or
    a result, which always gets a line.
    """
    from rescale.terminal import console, text_column

    screen = console(stderr=True, soft_wrap=True)
    if not screen.is_terminal:
        yield _lines(title)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (text_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def advance(done: int, of: int, result: str) -> None:
            bar.update(task, completed=done, total=of)
            if result:
                screen.print(result)

        yield advance


def _lines(title: str) -> Advance:
    """Print a line for each result, for the last part, and otherwise every `EVERY` seconds."""
    began = printed = time.monotonic()

    def advance(done: int, of: int, result: str) -> None:
        nonlocal printed
        now = time.monotonic()
        if done and (result or done == of or now - printed >= EVERY):
            printed, elapsed = now, now - began
            about = f": {result}" if result else ""
            times = ", ".join(filter(None, (f"after {clock(elapsed)}", remaining(elapsed, done, of))))
            print(f"{title}: {done} of {of}{about}, {times}", file=sys.stderr, flush=True)

    return advance
