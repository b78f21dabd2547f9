"""Check that a plan can be carried out before anything runs."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import NamedTuple, TypeVar

from rescale.data import Data, DataSpec, open_data
from rescale.errors import UserError
from rescale.execution import ExecutionMode
from rescale.figure import Figure
from rescale.models import External, cost_of
from rescale.models.execute import check_mode
from rescale.models.start import StartingWeights, model_to_train, starting_weights
from rescale.network import Network
from rescale.recipes import Recipe, held_out, recipe, resolve, with_changes
from rescale.studies.analysis import common_figure
from rescale.studies.configuration import Configuration, configuration
from rescale.studies.plan import Item, Plan
from rescale.tasks import task_of
from rescale.training import check_batch, check_parts

Key = TypeVar("Key")
Value = TypeVar("Value")


class Prepared(NamedTuple):
    """What a run will train.

    Args:
        model: with the outputs that the data needs.
        recipe: resolved.
        images: of the training part.
        figure: the headline figure.
        digest: of the data.
        start: starting weights that are known before anything runs, without their tensors.
    """

    model: Network | External
    recipe: Recipe
    images: int
    figure: Figure
    digest: str
    start: StartingWeights | None = None


class Checked(NamedTuple):
    """A plan that can be carried out.

    Args:
        notes: what was recognised, assumed or passed over in the data, one line each.
        runs: what each item trains; items that differ in the seed alone share it.
    """

    notes: list[str]
    runs: dict[Item, Prepared]

    @property
    def configurations(self) -> dict[str, Configuration]:
        """What the runs of each label train."""
        seeds: dict[str, list[int]] = {}
        for item in self.runs:  # what a run gives that is to be made is not known
            seeds.setdefault(item.label, []).extend([] if item.needs else [item.seed])
        first = {item.label: run for item, run in reversed(self.runs.items())}
        return {
            label: configuration(run.model, run.recipe, run.digest, tuple(seeds[label]), run.start)
            for label, run in first.items()
        }


def check(plan: Plan) -> Checked:
    """Look up every model, recipe and data set, then check that they fit; all mistakes in one UserError.

    All runs must be judged by the same headline figure.
    """
    models = _look_up(_model, ((item.model, item.weights) for item in plan.items))
    recipes = _look_up(_changed, ((item.recipe, item.changes) for item in plan.items))
    data = _look_up(open_data, (item.data for item in plan.items))
    _raise_mistakes(models, recipes, data)

    @cache
    def opened(text: str | DataSpec, minival: float) -> Data:
        """The data as a training opens it, with images held out if its recipe selects on them."""
        return open_data(text, minival=minival) if minival else data[text]

    def prepared(item: Item) -> Prepared:
        recipe, model = recipes[item.recipe, item.changes], models[item.model, item.weights]
        own = opened(item.data, held_out(recipe, model))
        images = len(own.train)
        resolved = resolve(recipe, model, images).recipe
        task = task_of(resolved, own)
        task.check(own)
        check_parts(own)
        adapted = task.adapt(model, own)
        cost_of(adapted)  # an external model may not take these images
        check_batch(resolved, model, images)
        if plan.timing.fast != "auto":
            check_mode(model, ExecutionMode.parse(plan.timing.fast), plan.timing.device)
        start = None
        if item.weights and not item.needs:
            start = replace(starting_weights(item.weights, model), tensors={})  # those of all runs are large
        return Prepared(adapted, resolved, images, task.headline, own.digest, start)

    without_seed = {item: replace(item, seed=0) for item in plan.items}
    runs = _look_up(prepared, without_seed.values())
    _raise_mistakes(runs)
    common_figure({item: run.figure for item, run in runs.items()})
    notes = [f"{opened.spec.name}: {note}" for opened in data.values() for note in opened.notes]
    return Checked(notes, {item: runs[key] for item, key in without_seed.items()})


class _Lookup(dict[Key, Value]):
    """The value of each key, and the mistakes among the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.mistakes: list[str] = []


def _look_up(find: Callable[[Key], Value], keys: Iterable[Key]) -> _Lookup[Key, Value]:
    looked_up: _Lookup[Key, Value] = _Lookup()
    for key in dict.fromkeys(keys):
        try:
            looked_up[key] = find(key)
        except UserError as error:
            looked_up.mistakes += error.lines
    return looked_up


def _raise_mistakes(*lookups: "_Lookup") -> None:
    if mistakes := list(dict.fromkeys(line for lookup in lookups for line in lookup.mistakes)):
        raise UserError(*mistakes)


def _model(key: tuple[str, str]) -> Network | External:
    return model_to_train(*key)


def _changed(key: tuple[str, tuple[str, ...]]) -> Recipe:
    name, changes = key
    return with_changes(recipe(name), changes)
