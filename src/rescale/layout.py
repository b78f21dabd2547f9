"""Text that fits the terminal: lines broken between words, tables without the columns that do not fit."""

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass


def width() -> int:
    """Characters in a line of the terminal; 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def wrapped(text: str, indent: str = "", *, first: str = "", line_width: int | None = None) -> str:
    """Break a text between words into lines that fit. A longer word, such as a path, stays whole.

    Args:
        text: its line breaks are kept.
        indent: in front of every line but the first.
        first: in front of the first line.
        line_width: characters in a line; None for those of the terminal.
    """
    wrapper = textwrap.TextWrapper(
        line_width or width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        wrapper.initial_indent = indent if lines else first
        lines += wrapper.wrap(line) or [wrapper.initial_indent.rstrip()]
    return "\n".join(lines)


def note(text: str) -> str:
    """A note about what was assumed, chosen or passed over, as all commands print it."""
    return wrapped(f"note: {text}", " " * 6)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        heading: one or several lines.
        cells: one text for each row.
        name: what it is called where it is left out; the first line of the heading by default.
        rank: a column that does not fit is left out, those of the highest rank first; 0: never.
        left: aligned to the left, as words are; otherwise to the right, as numbers are.
        breaks: its cells may be broken between words.
    """

    heading: str
    cells: Sequence[str]
    name: str = ""
    rank: int = 0
    left: bool = False
    breaks: bool = False

    @property
    def least(self) -> int:
        """The smallest width in characters that breaks no word."""
        words = [word for cell in self.cells for word in cell.split()] if self.breaks else self.cells
        return max(map(len, [*self.heading.split("\n"), *words]), default=0)


def fitting(columns: Sequence[Column], gap: int = 1, line_width: int | None = None) -> list[Column]:
    """The columns of a table that fit side by side.

    Args:
        columns: all columns, from left to right.
        gap: characters between two of them.
        line_width: characters in a line; None for those of the terminal.
    """
    kept = list(columns)
    line_width = line_width or width()
    while sum(column.least + gap for column in kept) - gap > line_width and any(
        column.rank for column in kept
    ):
        kept.remove(max(kept, key=lambda column: column.rank))
    return kept


def left_out(columns: Sequence[Column], kept: Sequence[Column]) -> str:
    """A sentence that names the columns that did not fit; empty if all did."""
    names = [column.name or column.heading.split("\n")[0] for column in columns if column not in kept]
    return f"Left out for lack of space: {', '.join(names)}." if names else ""


def table(columns: Sequence[Column], line_width: int | None = None) -> str:
    """A table as plain text, with a sentence below that names the columns that did not fit."""
    kept = fitting(columns, line_width=line_width)
    height = max(len(column.heading.split("\n")) for column in kept)
    blocks = []
    for column in kept:
        heading = column.heading.split("\n")
        cells = [*heading, *[""] * (height - len(heading)), *column.cells]
        size = max(map(len, cells))
        blocks.append([cell.ljust(size) if column.left else cell.rjust(size) for cell in cells])
    lines = [" ".join(cells).rstrip() for cells in zip(*blocks, strict=True)]
    missing = left_out(columns, kept)
    return "\n".join([*lines, *([wrapped(missing, line_width=line_width)] if missing else [])])
