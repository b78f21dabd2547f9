"""The two kinds of failure of a command, and the wording of messages: lists, plurals, suggestions."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


MOST_LINES = 20  # of one error


class UserError(Exception):
    """A mistake of the user's, found before work begins; the command ends with exit code 2.

    The attribute `already_reported` is True if all processes of a run raise the error, so that only one of
    them prints it.

    Args:
        lines: one text per mistake, each a single line that says what is wrong and what to do.
    """

    already_reported = False

    def __init__(self, *lines: str) -> None:
        if len(lines) > MOST_LINES:
            lines = (*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more mistakes like these")
        super().__init__(*lines)
        self.lines: Sequence[str] = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


class JobError(Exception):
    """A job that failed while it ran (disk full, NaN); the command ends with exit code 1.

    The attribute `already_reported` has the same meaning as for `UserError`.

    Args:
        args: one text, a single line that says what failed.
    """

    already_reported = False


def first_few(words: Sequence[str], limit: int = 5) -> str:
    """The first `limit` words, separated by commas; ", ..." stands for the others."""
    return ", ".join(words[:limit]) + (", ..." if len(words) > limit else "")


def shortened(value: object, most: int = 80) -> str:
    """The repr of a value from a user's file, cut to `most` characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return str(error).strip().split("\n")[0]


def plural(number: float, noun: str) -> str:
    """A number with its noun: 1 image, 2 images; 1 class, 2 classes."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"


def agree(number: float, one: str, several: str) -> str:
    """The form of a verb that agrees with a number of things: 1 image has, 2 images have."""
    return one if number == 1 else several


def nearest(word: str, known: Iterable[str], *, kind: str = "") -> str:
    """Suggest similar words ("did you mean 'a' or 'b'?"); if none is close, list up to eight known ones."""
    words = list(known)
    close = get_close_matches(word.lower(), words, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    return f"known{' ' + kind if kind else ''}: {first_few(words, 8)}"


def validation_lines(
    error: "ValidationError", where: str, known: Callable[[tuple[str | int, ...]], Iterable[str]]
) -> list[str]:
    """One line per pydantic error. known: returns the valid keys at a location in the input.

    Beyond the lines that an error shows, keys get no suggestion, since a search for each takes long.
    """
    lines: list[str] = []
    for mistake in error.errors():
        *place, last = mistake["loc"] or ("",)
        path = ".".join(str(step) for step in mistake["loc"])
        if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            hint = f"; {nearest(str(last), known(tuple(place)))}" if len(lines) < MOST_LINES else ""
            lines.append(f"{where}: no key {path!r}{hint}")
        elif mistake["type"] in ("missing", "missing_argument"):
            lines.append(f"{where}: {path} is missing")
        else:
            text = mistake["msg"].removeprefix("Value error, ")
            text = text.removeprefix("Input should be ")
            # a check of several fields has no location, and its message is complete
            lines.append(
                f"{where}: {path}: expected {text}, found {shortened(mistake['input'])}"
                if path
                else f"{where}: {text}"
            )
    return lines
