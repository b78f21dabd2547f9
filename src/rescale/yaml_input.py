"""YAML from users: networks, recipes, plans. Limits on size and depth, and errors of one line."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from rescale.errors import UserError, validation_lines

Content = TypeVar("Content")
MOST_BYTES = 2 << 20  # of a file
MOST_VALUES = 100_000  # after aliases are replaced by what they stand for
DEEPEST = 50  # levels of nesting


class Loader(yaml.SafeLoader):
    """Reads plain values; a key that occurs twice in a mapping is an error.

    1e-4 is a number, as in YAML 1.2 and Python; by PyYAML's own rules it is text.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The node of a mapping, before merge keys add others."""
        node = super().compose_mapping_node(anchor)
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                raise yaml.composer.ComposerError(
                    None, None, f"the key {key.value!r} occurs twice", key.start_mark
                )
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return node


class Dumper(yaml.SafeDumper):
    """Writes YAML for `Loader`: text that looks like such a number is quoted."""


for _yaml in (Loader, Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. UserError if it cannot be read, is not YAML, or exceeds the limits."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig") if len(content) <= MOST_BYTES else ""
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8, so not YAML") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: larger than {MOST_BYTES >> 20} MiB, too large for a file of settings")
    return parse_yaml(text, str(path))


def read_dataclass(path: Path, kind: type[Content], parts: Mapping[str, Any]) -> Content:
    """The content of a YAML file as a dataclass.

    Args:
        path: the file.
        kind: the dataclass; its annotations say which keys and values are right.
        parts: the dataclasses within it, by the key or the name of the type that leads to them.

    Raises:
        UserError: the file cannot be read; or each mistake with its place and the nearest right key.
    """
    from pydantic import TypeAdapter, ValidationError

    def known(place: tuple[str | int, ...]) -> list[str]:
        names = [step for step in place if isinstance(step, str)]
        return [item.name for item in fields(parts[names[-1]] if names else kind)]  # type: ignore[arg-type]

    plain = read_yaml(path)
    try:
        return TypeAdapter(kind).validate_python(plain)
    except ValidationError as error:
        raise UserError(*validation_lines(error, str(path), known)) from None


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text. UserError, beginning with `where`, if it is none or exceeds the limits."""
    try:
        _check_size(text, where)
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date or number
        raise UserError(f"{where}: not YAML: {' '.join(str(error).split())[:300]}") from None


def _check_size(text: str, where: str) -> None:
    """Raise UserError for a text that stands for too many values or nests them too deeply.

    The parser's events are counted, without any recursion. A small text stands for billions of values if each
    line repeats an alias of the line before.
    """
    values: list[int] = [0]  # in each collection that is open, outermost first
    depths: list[int] = [0]  # levels below each of them
    anchors: list[str | None] = [None]
    known: dict[str, tuple[int, int]] = {}  # values and levels by anchor

    def add(count: int, levels: int) -> None:
        values[-1] += count
        depths[-1] = max(depths[-1], levels)
        if values[-1] > MOST_VALUES:
            raise UserError(f"{where}: stands for more than {MOST_VALUES:,} values; too many aliases?")
        if len(values) - 1 + levels > DEEPEST:
            raise UserError(f"{where}: nested more than {DEEPEST} levels deep")

    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            values.append(1)
            depths.append(0)
            anchors.append(event.anchor)
            add(0, 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            inside, levels, anchor = values.pop(), depths.pop() + 1, anchors.pop()
            if anchor:
                known[anchor] = inside, levels
            add(inside, levels)
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor:
                known[event.anchor] = 1, 0
            add(1, 0)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in anchors:
                raise UserError(f"{where}: *{event.anchor} stands for a value that contains itself")
            add(*known.get(event.anchor or "", (1, 0)))
