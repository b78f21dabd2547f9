"""The command line: parses, calls, prints. Heavy imports sit inside the commands."""

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
        _end(2, error.told, *(f"error: {line}" for line in error.lines))
    except JobError as error:
        _end(1, error.told, f"stopped: {error}")


def _end(code: int, told: bool, *lines: str) -> NoReturn:
    """Say why, and end.

    Of torchrun's processes the first says what all were told. What each found alone, such as a wrong word,
    the first on a machine says; torchrun then ends the others, which wait for that.
    """
    if told and os.environ.get("RANK", "0") != "0":
        time.sleep(1)
        sys.exit(code)
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(10)
    for line in lines:
        print(line, file=sys.stderr)
    sys.exit(code)
