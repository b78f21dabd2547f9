"""A study as data: which networks, by which recipe, on which data, with which seeds."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rescale.bench.timing import TimingProtocol
from rescale.data.spec import DataSpec
from rescale.errors import UserError, nearest, plural
from rescale.lookup import label_and_name
from rescale.outputs import NETWORK_FILE

MOST_RUNS = 2_000  # of a study
OF_RUN = "run:"  # begins the weights of a run that starts from another run of its study


@dataclass(frozen=True)
class Item:
    """One training run.

    model, recipe: as on the command line. data: a word, an absolute path, or the paths of the parts. changes:
    "key=value" on top of the recipe. label: the network's name in the report; runs of one label differ only
    in the seed. group: the front it belongs to. weights: what training starts from, as for `rescale train
    --weights`, or run:LABEL for the run of that label with the same seed; random weights if empty.
    """

    model: str
    recipe: str
    data: str | DataSpec
    seed: int = 0
    changes: tuple[str, ...] = ()
    label: str = ""
    group: str = ""
    weights: str = ""

    @property
    def name(self) -> str:
        """Label and seed, as a name for files."""
        return f"{file_name(self.label)}-s{self.seed}"

    @property
    def needs(self) -> str:
        """The label of the run that this one starts from; empty if it starts from no run of its study."""
        return self.weights.removeprefix(OF_RUN) if self.weights.startswith(OF_RUN) else ""


@dataclass(frozen=True)
class Plan:
    """All runs of a study in their order, and how its networks are timed.

    command: the command that made the plan; empty if it was written by hand. notes: for the report: how the
    study departs from the recipes, and why. kind: name of the kind of study (`rescale.studies.kinds`).
    """

    title: str
    items: tuple[Item, ...]
    timing: TimingProtocol = field(default_factory=TimingProtocol)
    command: str = ""
    notes: tuple[str, ...] = ()
    kind: str = "pareto"

    @property
    def by_hand(self) -> bool:
        """Whether a person wrote the plan, in a file of their own."""
        return not self.command

    @property
    def shared_changes(self) -> tuple[str, ...]:
        """The changes that all items have, in the first item's order."""
        first, *others = self.items
        return tuple(change for change in first.changes if all(change in item.changes for item in others))

    @property
    def labels(self) -> list[str]:
        """The networks, each once, in order."""
        return list(dict.fromkeys(item.label for item in self.items))

    def of(self, label: str) -> list[Item]:
        """The runs of one network, one for each seed."""
        return [item for item in self.items if item.label == label]

    def needed(self, item: Item) -> Item | None:
        """The run whose weights a run starts from; None if it starts from none of the study."""
        if not item.needs:  # asked of every waiting run, again and again
            return None
        return next((run for run in self.of(item.needs) if run.seed == item.seed), None)


def key_of(change: str) -> str:
    """The key of a "key=value"."""
    return change.partition("=")[0].strip()


def merged(changes: Iterable[str], own: Sequence[str]) -> tuple[str, ...]:
    """The changes whose keys `own` does not change, and then those of `own`."""
    keys = {key_of(change) for change in own}
    return (*(change for change in changes if key_of(change) not in keys), *own)


def file_name(label: str) -> str:
    """A label as part of a file name: unsafe characters become hyphens."""
    return re.sub(r"[^\w.@+=-]+", "-", label).strip("-")


def shown_name(model: str) -> str:
    """A model's name in a report: the label of `label=NAME`, otherwise the name itself."""
    label, name = label_and_name(model)
    return label or name


def short_names(models: Sequence[str]) -> dict[str, str]:
    """The name of each model in a report. That of a file or folder has no path, unless two would be equal."""
    names = {model: _without_path(model) for model in models}
    counts = Counter(names.values())
    return {model: name if counts[name] == 1 else shown_name(model) for model, name in names.items()}


def _without_path(model: str) -> str:
    if (shown := shown_name(model)) != model:
        return shown
    path = Path(model)
    if path.name == NETWORK_FILE:
        path = path.parent
    is_path = path.suffix in (".yaml", ".yml") or ("/" in model and ":" not in model)
    return (path.stem if path.suffix in (".yaml", ".yml") else path.name) if is_path else model


def default_title(items: Sequence[Item]) -> str:
    """A heading for the report: the data's names, without their paths."""
    data = dict.fromkeys(DataSpec.of(item.data).name for item in items)
    return f"{', '.join(data)}: speed and accuracy"


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
    check_size(len(recipes) * len(models), seeds)
    several = len(recipes) > 1
    names = short_names(models)
    items = [
        Item(
            model=model,
            recipe=recipe,
            data=DataSpec.of(data).plain(),
            changes=tuple(changes),
            label=f"{names[model]}, {Path(recipe).stem}" if several else names[model],
            group=f"{family(model)}, {Path(recipe).stem}" if several else family(model),
        )
        for recipe in recipes
        for model in models
    ]
    plan = Plan(
        title=title or default_title(items[:1]),
        items=tuple(replace(item, seed=seed) for seed in range(seeds) for item in items),
        timing=timing or TimingProtocol(),
        command=command,
        notes=tuple(notes),
    )
    check_names(plan)
    return plan


def check_size(networks: int, seeds: int) -> None:
    """Check the number of runs before they are listed. Raises UserError."""
    if networks * seeds > MOST_RUNS:
        raise UserError(
            f"{plural(networks, 'network')} with {plural(seeds, 'seed')} are {networks * seeds:,} trainings; "
            f"a study has at most {MOST_RUNS:,}"
        )


def check_needs(plan: Plan) -> None:
    """Check that every run that another one starts from is in the plan, and none needs itself.

    Raises UserError.
    """
    for item in plan.items:
        if item.needs and plan.needed(item) is None:
            raise UserError(
                f"{item.name}: starts from {item.weights}, but the plan has no run of that label with seed "
                f"{item.seed}; {nearest(item.needs, plan.labels)}"
            )
        before, step = {item.name}, plan.needed(item)
        while step is not None:
            if step.name in before:
                raise UserError(f"{item.name}: runs that start from each other's weights: {step.name}")
            before.add(step.name)
            step = plan.needed(step)


def check_names(plan: Plan) -> None:
    """Check that every run has its own folder. Raises UserError."""
    if not plan.items:
        raise UserError("a study needs at least one model and one seed")
    seen: dict[str, Item] = {}
    for item in plan.items:
        if (other := seen.setdefault(item.name.lower(), item)) is not item:
            raise UserError(f"{other.model} and {item.model} are both called {item.name}; name each once")
