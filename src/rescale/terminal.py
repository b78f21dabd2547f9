"""Output on the terminal. Text is printed as it is: file names may hold [brackets] and :colons:.

All consoles and text columns of the project are made here, since rich reads both as markup by default.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where output begins: rich takes longer than most of what is imported with it
    from rich.console import Console
    from rich.progress import TextColumn


def console(*, stderr: bool = False, quiet: bool = False, soft_wrap: bool = False) -> "Console":
    """A console that prints text, and the cells of tables, unchanged.

    Args:
        stderr: print to standard error instead of standard output.
        quiet: print nothing.
        soft_wrap: leave long lines to the terminal instead of breaking them.
    """
    from rich.console import Console

    return Console(
        stderr=stderr, quiet=quiet, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False
    )


def text_column(text: str) -> "TextColumn":
    """A column of a progress bar that shows fields of its task unchanged.

    text: names the fields, such as "{task.description}".
    """
    from rich.progress import TextColumn

    return TextColumn(text, markup=False)
