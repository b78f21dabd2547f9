"""A study as data: which networks, by which recipe, on which data, with which seeds; YAML in and out."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from rescale.bench.timing import TimingProtocol
from rescale.data.spec import DataSpec
from rescale.errors import UserError, validation_lines
from rescale.lookup import label_and_name
from rescale.yaml_input import read_yaml

PLAN = "plan.yaml"  # the plan's name in a study's folder
_STRICT = {"extra": "forbid"}  # for pydantic, when a file is checked


@dataclass(frozen=True)
class Item:
    """One training run.

    model, recipe: as on the command line. data: a word, an absolute path, or the paths of the parts. changes:
    "key=value" on top of the recipe. label: the network's name in the report; runs of one label differ only
    in the seed. group: the front it belongs to.
    """

    __pydantic_config__: ClassVar = _STRICT

    model: str
    recipe: str
    data: str | DataSpec
    seed: int = 0
    changes: tuple[str, ...] = ()
    label: str = ""
    group: str = ""

    @property
    def name(self) -> str:
        """Label and seed, as a name for files."""
        return f"{file_name(self.label)}-s{self.seed}"


@dataclass(frozen=True)
class Plan:
    """All runs of a study in their order, how its networks are timed, and the command that made the plan."""

    __pydantic_config__: ClassVar = _STRICT

    title: str
    items: tuple[Item, ...]
    timing: TimingProtocol = field(default_factory=TimingProtocol)
    command: str = ""
    notes: tuple[str, ...] = ()  # for the report: how the study departs from the recipes, and why

    @property
    def labels(self) -> list[str]:
        """The networks, each once, in order."""
        return list(dict.fromkeys(item.label for item in self.items))

    def of(self, label: str) -> list[Item]:
        """The runs of one network, one for each seed."""
        return [item for item in self.items if item.label == label]


def file_name(label: str) -> str:
    """A label as part of a file name: unsafe characters become hyphens."""
    return re.sub(r"[^\w.@+=-]+", "-", label).strip("-")


def shown_name(model: str) -> str:
    """A model's name in a report: the label of `label=NAME`, otherwise the name itself."""
    label, name = label_and_name(model)
    return label or name


def family(model: str) -> str:
    """The family in a model's name: `resnetrs50@160` -> resnetrs, `timm:resnet18` -> timm:resnet."""
    model = shown_name(model)
    prefix, _, name = model.rpartition(":") if model.startswith("timm:") else ("", "", model)
    if name.endswith((".yaml", ".yml")):
        return Path(name).stem
    letters = re.match(r"[a-z]+?v\d+|[a-z]+", name.split(":")[-1], re.IGNORECASE)  # mobilenetv3 is one
    return (f"{prefix}:" if prefix else "") + (letters[0] if letters else name)


def pareto_plan(
    models: Sequence[str],
    recipes: Sequence[str],
    data: str | DataSpec,
    *,
    seeds: int = 1,
    changes: Sequence[str] = (),
    timing: TimingProtocol | None = None,
    title: str = "",
    command: str = "",
    notes: Sequence[str] = (),
) -> Plan:
    """Every model by every recipe with seeds 0..seeds-1; all networks once before the next seed.

    A front belongs to a family; with several recipes, to a family trained by one recipe.
    """
    several = len(recipes) > 1
    items = [
        Item(
            model=model,
            recipe=recipe,
            data=DataSpec.of(data).plain(),
            changes=tuple(changes),
            label=f"{shown_name(model)}, {Path(recipe).stem}" if several else shown_name(model),
            group=f"{family(model)}, {Path(recipe).stem}" if several else family(model),
        )
        for recipe in recipes
        for model in models
    ]
    plan = Plan(
        title=title or f"{DataSpec.of(data).name}: speed and accuracy",
        items=tuple(replace(item, seed=seed) for seed in range(seeds) for item in items),
        timing=timing or TimingProtocol(),
        command=command,
        notes=tuple(notes),
    )
    check_names(plan)
    return plan


def check_names(plan: Plan) -> None:
    """Check that every run has its own folder. Raises UserError."""
    if not plan.items:
        raise UserError("a study needs at least one model and one seed")
    seen: dict[str, Item] = {}
    for item in plan.items:
        if (other := seen.setdefault(item.name.lower(), item)) is not item:
            raise UserError(f"{other.model} and {item.model} are both called {item.name}; name each once")


def to_yaml(plan: Plan) -> str:
    """The plan as YAML text; `from_file` reads it back equal."""
    plain = asdict(plan)
    for item, written in zip(plan.items, plain["items"], strict=True):
        written["changes"] = list(item.changes)
        written["data"] = item.data if isinstance(item.data, str) else item.data.stored()
    plain["notes"] = list(plain["notes"])
    return yaml.safe_dump(plain, sort_keys=False, width=110, allow_unicode=True)


def plan_in(folder: Path) -> Plan:
    """The plan of a study's folder. Raises UserError if there is none."""
    if not (folder / PLAN).is_file():
        raise UserError(f"{folder}: no study here (no {PLAN}); rescale study makes one")
    return from_file(folder / PLAN)


def from_file(path: Path) -> Plan:
    """Read a plan. Errors name the file, the place and the nearest right key."""
    from pydantic import TypeAdapter, ValidationError

    plain = read_yaml(path)
    try:
        plan = TypeAdapter(Plan).validate_python(plain)
    except ValidationError as error:
        raise UserError(*validation_lines(error, str(path), _known_keys)) from None
    plan = replace(plan, items=tuple(_labelled(item) for item in plan.items))
    check_names(plan)
    return plan


def _labelled(item: Item) -> Item:
    """An item written by hand may leave label and group out, and name its data by a relative path."""
    label = item.label or ", ".join((shown_name(item.model), *item.changes))
    data = DataSpec.of(item.data).plain()
    return replace(item, data=data, label=label, group=item.group or family(item.model))


def _known_keys(place: tuple[str | int, ...]) -> list[str]:
    parts: dict[str, Any] = {"items": Item, "timing": TimingProtocol, "DataSpec": DataSpec}
    names = [step for step in place if isinstance(step, str)]
    return [item.name for item in fields(parts[names[-1]] if names else Plan)]
