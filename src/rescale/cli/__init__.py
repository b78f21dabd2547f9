"""The command line: parses, calls, prints. Heavy imports sit inside the commands."""

import sys

from rescale.errors import JobError, UserError


def main() -> None:
    """Run the command; a user's mistake ends it with lines and exit code 2, a failed job with 1."""
    from rescale.cli.app import app

    try:
        app()
    except UserError as error:
        for line in error.lines:
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except JobError as error:
        print(f"stopped: {error}", file=sys.stderr)
        sys.exit(1)
