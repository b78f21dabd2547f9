"""Recipes as text: names, YAML files, `key=value` changes, and the differences of two."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rescale.errors import UserError, nearest, shortened, validation_lines
from rescale.recipes.named import NAMED
from rescale.recipes.recipe import MEANING, Recipe
from rescale.yaml_input import Dumper, parse_yaml, read_yaml


def recipe(name: str | Path, **changes: Any) -> Recipe:
    """Find a recipe by name or read it from a YAML file, with fields replaced by keyword.

    `recipe("resnet-rs", epochs=10)` is the recipe `resnet-rs` for 10 epochs.

    Args:
        name: name of a recipe, or path of a YAML file.
        changes: new values of fields of `Recipe`; an option of the task is written
            `**{"task.OPTION": value}`.

    Returns:
        The recipe, checked. Its rules are not resolved.

    Raises:
        UserError: no recipe has this name (the message suggests similar ones); the file cannot be read; a
            field is unknown or its value is wrong, one line each.
    """
    text = str(name)
    if text in NAMED:
        base = NAMED[text].recipe
    elif text.endswith((".yaml", ".yml")) or "/" in text:
        base = from_file(Path(text))
    else:
        raise UserError(f"no recipe is named {text!r}; {nearest(text, NAMED)} (rescale recipes lists them)")
    return changed(base, changes, where=text) if changes else base


def with_changes(base: Recipe, pairs: Sequence[str]) -> Recipe:
    """Apply `key=value` texts. All mistakes are reported at once, with the closest valid key.

    `task.OPTION=value` sets one option of the task and keeps the others.
    """
    mistakes, changes = [], {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            mistakes.append(f"--set {pair}: write key=value, as in --set epochs=10")
            continue
        changes[key.strip()] = value if key.strip() in ("name", "task.name") else _parse(value)
    try:
        result = changed(base, changes, where="--set")
    except UserError as error:
        raise UserError(*mistakes, *error.lines) from None
    if mistakes:
        raise UserError(*mistakes)
    return result


def changed(base: Recipe, changes: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """The recipe with some fields replaced, and task options by "task.OPTION", checked as a whole."""
    return _make(base.model_dump(), changes, where)


def from_file(path: Path) -> Recipe:
    """Read a recipe's YAML file. `base: NAME` starts from a named recipe; other keys replace its fields."""
    entries = read_yaml(path)
    if not isinstance(entries, dict):
        raise UserError(f"{path}: a recipe file holds keys and values, not a {type(entries).__name__}")
    base = entries.pop("base", None)
    if base is not None and base not in NAMED:
        raise UserError(f"{path}: base: no recipe is named {base!r}; {nearest(str(base), NAMED)}")
    start = NAMED[base].recipe.model_dump() if base is not None else {}
    changes = {str(key): value for key, value in entries.items()}
    return _make({**start, "name": path.stem}, changes, str(path))


def to_yaml(value: Recipe, sources: Mapping[str, str] | None = None) -> str:
    """The recipe as YAML text, with the known sources of its values as comments.

    Fields that later versions added are omitted if they have their default.
    """
    lines = []
    for key, entry in value.model_dump(mode="json", exclude=value.additions_at_default()).items():
        entry_text = yaml.dump([entry], Dumper=Dumper, default_flow_style=True, width=math.inf).strip()[1:-1]
        text = f"{key}: {entry_text}"
        source = (sources or {}).get(key)
        lines.append(f"{text}  # {source}" if source else text)
    return "\n".join(lines) + "\n"


def differences(a: Recipe, b: Recipe) -> dict[str, tuple[Any, Any]]:
    """The fields with different values, except the name: field -> (value in a, value in b)."""
    first, second = a.model_dump(), b.model_dump()
    return {key: (first[key], second[key]) for key in first if key != "name" and first[key] != second[key]}


def _make(start: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> Recipe:
    options = {key.removeprefix("task."): value for key, value in changes.items() if key.startswith("task.")}
    values = {**start, **{key: value for key, value in changes.items() if not key.startswith("task.")}}
    if options:
        task = values.get("task", Recipe().task)
        values["task"] = {**task, **options} if isinstance(task, Mapping) else task
    if isinstance(values.get("milestones"), list):
        values["milestones"] = tuple(values["milestones"])
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(*_lines(error, where)) from None


def _lines(error: ValidationError, where: str) -> list[str]:
    """One line per field, in the given order; pydantic reports a field of several types once per type."""
    mistakes = error.errors()
    accepted: dict[Any, list[str]] = {}
    for mistake in mistakes:
        accepted.setdefault(mistake["loc"][:1], []).append(mistake["msg"].removeprefix("Input should be "))
    lines: dict[Any, str] = {}
    for mistake, line in zip(mistakes, validation_lines(error, where, lambda _: MEANING), strict=True):
        field = mistake["loc"][:1]
        expected = accepted[field]
        if len(expected) > 1 and field:
            value = shortened(mistake["input"])
            line = f"{where}: {field[0]}: expected {' or '.join(expected)}, found {value}"
        lines.setdefault(field, line)
    return list(lines.values())


def _parse(text: str) -> Any:
    """A value as YAML reads it; invalid YAML is text."""
    try:
        return parse_yaml(text, "--set")
    except UserError:
        return text
