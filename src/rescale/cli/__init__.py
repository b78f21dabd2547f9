"""The command line: parses, calls, prints. Heavy imports are inside the commands."""

from rescale.cli.main import main

__all__ = ["main"]
