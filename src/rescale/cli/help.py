"""How `--help` is laid out: groups of commands and options, whole sentences, examples to copy."""

import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from rescale.layout import wrapped

FIRST = 28  # characters of the first column at most; a longer entry has its line to itself
EXECUTION, TIMING, BUDGET, CLUSTER = "Execution", "Timing", "Budget", "Cluster"  # groups of options
EXAMPLE = re.compile(r"([A-Z][\w ]*): ((?:rescale|torchrun) .*)")


class Command(TyperCommand):
    """A command whose options are grouped by `rich_help_panel`."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        write_text(self.help, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_options(self, ctx, formatter)


class Group(TyperGroup):
    """A group of commands, each with a whole sentence, grouped by `rich_help_panel`."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        write_text(self.help, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        commands = [self.commands[name] for name in self.list_commands(ctx)]
        write_groups(
            (
                (
                    getattr(command, "rich_help_panel", None) or "Commands",
                    (command.name or "", _sentence(command)),
                )
                for command in commands
                if not command.hidden
            ),
            formatter,
        )
        write_options(self, ctx, formatter)


def write_text(text: str | None, formatter: Any) -> None:
    """Write the paragraphs of a help text; an example has the command on lines of its own."""
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        line, indent = " ".join(paragraph.split()), " " * 2
        formatter.write("\n")
        if example := EXAMPLE.fullmatch(line):
            formatter.write(f"{indent}{example[1]}:\n{_command(example[2], formatter.width)}\n")
        else:
            formatter.write(wrapped(line, indent, first=indent, line_width=formatter.width) + "\n")


def write_options(command: Any, ctx: Any, formatter: Any) -> None:
    """Write arguments and options by group."""
    records = [(param, param.get_help_record(ctx)) for param in command.get_params(ctx)]
    write_groups(
        (
            (_group_of(param), record)
            for param, record in sorted(records, key=lambda pair: pair[0].param_type_name != "argument")
            if record is not None
        ),
        formatter,
    )


def write_groups(entries: Iterable[tuple[str, tuple[str, str]]], formatter: Any) -> None:
    """Write entries, pairs of a name and its meaning, under the heading of their group."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for group, entry in entries:
        groups.setdefault(group, []).append(entry)
    for group, members in groups.items():
        formatter.write(f"\n{group}:\n")
        size = min(FIRST, max(len(name) for name, _ in members))
        indent = " " * (size + 4)
        for name, meaning in members:
            if len(name) > size:
                formatter.write(f"  {name}\n")
            first = indent if len(name) > size else f"  {name:{size}}  "
            formatter.write(wrapped(meaning, indent, first=first, line_width=formatter.width) + "\n")


def _group_of(param: Any) -> str:
    named = getattr(param, "rich_help_panel", None)
    return named or ("Arguments" if param.param_type_name == "argument" else "Options")


def _sentence(command: Any) -> str:
    """The first paragraph of a command's help."""
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n", maxsplit=1)[0].split())


def _command(words: str, line_width: int) -> str:
    """A command on lines that the shell joins again."""
    wrapper = textwrap.TextWrapper(
        line_width - 2, initial_indent=" " * 4, subsequent_indent=" " * 6, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    joined = re.sub(r"(?<= )(--?[a-z][\w-]*) (?=[^-])", r"\1\0", words)  # an option and its value
    return " \\\n".join(wrapper.wrap(joined)).replace("\0", " ")
