"""Run the command line; errors become one line and an exit code."""

import os
import sys
import time
from typing import NoReturn

from rescale.errors import JobError, UserError


def main() -> None:
    """Run the command; a user's mistake ends it with lines and exit code 2, a failed job with 1."""
    from rescale.cli.app import app

    try:
        app()
    except UserError as error:
        _end(2, error.already_reported, *(f"error: {line}" for line in error.lines))
    except JobError as error:
        _end(1, error.already_reported, f"stopped: {error}")


def _end(code: int, already_reported: bool, *lines: str) -> NoReturn:
    """Say why, and end.

    Under torchrun, an error that every process raises is printed by the first one. An error that one
    process meets alone, such as a wrong option, is printed by the first on each machine; torchrun then
    ends the others.
    """
    if already_reported and os.environ.get("RANK", "0") != "0":
        time.sleep(1)
        sys.exit(code)
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(10)
    for line in lines:
        print(line, file=sys.stderr)
    sys.exit(code)
