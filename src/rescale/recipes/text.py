"""Recipes as text: names, YAML files, `key=value` changes, and the differences of two."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rescale.errors import UserError, nearest, validation_lines
from rescale.recipes.named import NAMED
from rescale.recipes.recipe import MEANING, Recipe


def recipe(name: str | Path, **changes: Any) -> Recipe:
    """A recipe by name or YAML file, with changes by keyword: recipe("resnet-rs", epochs=10)."""
    text = str(name)
    if text in NAMED:
        found = NAMED[text].recipe
    elif text.endswith((".yaml", ".yml")) or "/" in text:
        found = from_file(Path(text))
    else:
        raise UserError(f"no recipe is named {text!r}; {nearest(text, NAMED)} (rescale recipes lists them)")
    return changed(found, changes, where=text) if changes else found


def with_changes(base: Recipe, pairs: Sequence[str]) -> Recipe:
    """Apply `key=value` texts. Every mistake is reported at once, with the nearest right key."""
    wrong, changes = [], {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            wrong.append(f"--set {pair}: write key=value, as in --set epochs=10")
            continue
        changes[key.strip()] = value if key.strip() == "name" else _parse(value)
    try:
        made = changed(base, changes, where="--set")
    except UserError as error:
        raise UserError(*wrong, *error.lines) from None
    if wrong:
        raise UserError(*wrong)
    return made


def changed(base: Recipe, changes: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """The recipe with some fields replaced, checked as a whole."""
    return _make({**base.model_dump(), **changes}, where)


def from_file(path: Path) -> Recipe:
    """Read a recipe's YAML file. `base: NAME` begins from a named recipe; other keys replace its fields."""
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: a recipe file holds keys and values, not a {type(found).__name__}")
    base = found.pop("base", None)
    if base is not None and base not in NAMED:
        raise UserError(f"{path}: base: no recipe is named {base!r}; {nearest(str(base), NAMED)}")
    start = NAMED[base].recipe.model_dump() if base is not None else {}
    values = {str(key): value if key == "name" else _number(value) for key, value in found.items()}
    return _make({**start, "name": path.stem, **values}, str(path))


def to_yaml(value: Recipe, sources: Mapping[str, str] | None = None) -> str:
    """The recipe as YAML text, where known with the source of each value as a comment."""
    lines = []
    for key, entry in value.model_dump(mode="json").items():
        value_text = yaml.safe_dump([entry], default_flow_style=True, width=math.inf).strip()[1:-1]
        text = f"{key}: {value_text}"
        source = (sources or {}).get(key)
        lines.append(f"{text}  # {source}" if source else text)
    return "\n".join(lines) + "\n"


def differences(a: Recipe, b: Recipe) -> dict[str, tuple[Any, Any]]:
    """Fields whose values differ, the name left out: field -> (a's, b's)."""
    first, second = a.model_dump(), b.model_dump()
    return {key: (first[key], second[key]) for key in first if key != "name" and first[key] != second[key]}


def _make(values: dict[str, Any], where: str) -> Recipe:
    if isinstance(values.get("milestones"), list):
        values = {**values, "milestones": tuple(values["milestones"])}
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(*_lines(error, where)) from None


def _lines(error: ValidationError, where: str) -> list[str]:
    """One line a field, in the order given; pydantic reports a field of several types once for each."""
    mistakes = error.errors()
    lines: dict[Any, str] = {}
    for mistake, line in zip(mistakes, validation_lines(error, where, lambda _: MEANING), strict=True):
        field = mistake["loc"][:1]
        alike = [m["msg"].removeprefix("Input should be ") for m in mistakes if m["loc"][:1] == field]
        if len(alike) > 1 and field:
            line = f"{where}: {field[0]}: expected {' or '.join(alike)}, found {mistake['input']!r}"
        lines.setdefault(field, line)
    return list(lines.values())


def _parse(text: str) -> Any:
    """A value as YAML reads it; numbers such as 1e-4, which YAML takes for text, are numbers."""
    try:
        return _number(yaml.safe_load(text))
    except yaml.YAMLError:
        return text


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
