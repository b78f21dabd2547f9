"""Plans as YAML files. In a file that a person writes, the top holds what all items share."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from rescale.bench.timing import TimingProtocol
from rescale.data.spec import DataSpec
from rescale.errors import UserError, shortened
from rescale.studies.kinds import kind_of
from rescale.studies.plan import (
    Item,
    Plan,
    check_names,
    check_needs,
    check_size,
    default_title,
    family,
    merged,
    short_names,
)
from rescale.yaml_input import Dumper, read_dataclass, read_yaml

PLAN = "plan.yaml"  # the plan's name in a study's folder
_STRICT = {"extra": "forbid"}  # for pydantic


@dataclass(frozen=True)
class _WrittenItem:
    """An item of a file; as `Item`, with empty fields for what the top of the file or a rule gives."""

    __pydantic_config__: ClassVar = _STRICT

    model: str
    recipe: str = ""
    data: str | DataSpec = ""
    seed: int | None = None
    changes: tuple[str, ...] = ()
    label: str = ""
    group: str = ""
    weights: str = ""


@dataclass(frozen=True)
class _WrittenPlan:
    """A file. data, recipe, changes: of all items. seeds: of items without their own; a number or a list.

    resolved: what each label's runs train, of a stored plan. kind: of study; without one, a plan that a
    command made is pareto, one that a person wrote is additive.
    """

    __pydantic_config__: ClassVar = _STRICT

    items: tuple[_WrittenItem, ...]
    title: str = ""
    data: str | DataSpec = ""
    recipe: str = ""
    seeds: int | tuple[int, ...] = 1
    changes: tuple[str, ...] = ()
    timing: TimingProtocol = field(default_factory=TimingProtocol)
    command: str = ""
    notes: tuple[str, ...] = ()
    kind: str = ""
    resolved: Mapping[str, Any] = field(default_factory=dict)


def to_yaml(plan: Plan, resolved: Mapping[str, Any] | None = None) -> str:
    """The plan as YAML text, with every run as an item; `from_file` reads it back equal.

    resolved: what the runs of each label train, as plain data; `resolved_in` reads it.
    """
    plain = asdict(plan)
    for item, written in zip(plan.items, plain["items"], strict=True):
        written["changes"] = list(item.changes)
        written["data"] = item.data if isinstance(item.data, str) else item.data.stored()
    plain["notes"] = list(plain["notes"])
    if resolved:
        plain["resolved"] = dict(resolved)
    return yaml.dump(plain, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True)


def resolved_in(path: Path) -> dict[str, Any]:
    """What a stored plan's runs train, by label, as plain data; empty if it does not say."""
    plain = read_yaml(path)
    return dict(plain.get("resolved") or {}) if isinstance(plain, dict) else {}


def plan_in(folder: Path) -> Plan:
    """The plan of a study's folder. Raises UserError if there is none."""
    if not (folder / PLAN).is_file():
        raise UserError(f"{folder}: no study here (no {PLAN}); rescale study makes one")
    return from_file(folder / PLAN)


def from_file(path: Path) -> Plan:
    """Read a plan that a person or `to_yaml` wrote.

    An item takes data and recipe from the top where it has none, and those of the top's changes whose keys it
    does not change itself. An item without a seed is run with each of the top's seeds. Relative paths start
    at the working folder. Raises UserError: each mistake with the file, the place and the nearest right key.
    """
    parts = {"items": _WrittenItem, "timing": TimingProtocol, "DataSpec": DataSpec}
    written = read_dataclass(path, _WrittenPlan, parts)
    if mistakes := list(_mistakes(written)):
        raise UserError(*(f"{path}: {line}" for line in mistakes))
    check_size(len(written.items), written.seeds if isinstance(written.seeds, int) else len(written.seeds))
    items = tuple(_runs(written))
    plan = Plan(
        title=written.title or default_title(items),
        items=items,
        timing=written.timing,
        command=written.command,
        notes=written.notes,
        kind=written.kind or ("pareto" if written.command else "additive"),
    )
    kind_of(plan)
    check_names(plan)
    check_needs(plan)
    return plan


def _mistakes(written: _WrittenPlan) -> Iterator[str]:
    """What no field shows by itself."""
    for i, item in enumerate(written.items):
        for name in ("data", "recipe"):
            if not getattr(item, name) and not getattr(written, name):
                yield f"items.{i}.{name} is missing; give it there, or `{name}:` at the top for all items"
    if isinstance(written.seeds, int):
        if written.seeds < 1:
            yield f"seeds: expected a number from 1 on, or a list of seeds, found {written.seeds}"
    elif not written.seeds or len(set(written.seeds)) < len(written.seeds):
        yield f"seeds: expected different seeds, found {shortened(list(written.seeds))}"


def _runs(written: _WrittenPlan) -> Iterator[Item]:
    """One item for each run: all networks once before the next seed."""
    names = short_names([item.model for item in written.items])
    seeds = range(written.seeds) if isinstance(written.seeds, int) else written.seeds
    for i, seed in enumerate(seeds):
        for item in written.items:
            if item.seed is None:
                yield _run(item, seed, written, names[item.model])
            elif i == 0:
                yield _run(item, item.seed, written, names[item.model])


def _run(item: _WrittenItem, seed: int, top: _WrittenPlan, name: str) -> Item:
    return Item(
        model=item.model,
        recipe=item.recipe or top.recipe,
        data=DataSpec.of(item.data or top.data).plain(),
        seed=seed,
        changes=merged(top.changes, item.changes),
        label=item.label or ", ".join((name, *item.changes)),
        group=item.group or family(item.model),
        weights=item.weights,
    )
