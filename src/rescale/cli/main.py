"""Run the command line, and turn errors into lines on stderr and an exit code."""

import io
import os
import sys
import time
from typing import NoReturn

from rescale.errors import JobError, UserError
from rescale.layout import wrapped


def main() -> None:
    """Run the command. A UserError ends it with exit code 2, a JobError with 1."""
    from rescale.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
    try:
        app()
    except UserError as error:
        _end(2, error.already_reported, *(f"error: {line}" for line in error.lines))
    except JobError as error:
        _end(1, error.already_reported, f"stopped: {error}")


def _end(code: int, already_reported: bool, *lines: str) -> NoReturn:
    """Print the lines to stderr and exit.

    Under torchrun, an error that every process raises is printed by rank 0. Any other error, such as a
    wrong option, is printed by local rank 0 of each machine first; torchrun then ends the other processes.
    """
    if already_reported and os.environ.get("RANK", "0") != "0":
        time.sleep(1)
        sys.exit(code)
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(10)
    for line in lines:
        # in a log, and for programs, a mistake is a line
        print(wrapped(line, "  ") if sys.stderr.isatty() else line, file=sys.stderr)
    sys.exit(code)
