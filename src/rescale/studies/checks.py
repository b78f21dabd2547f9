"""Check that a plan can be carried out before anything runs."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from rescale.data import open_data
from rescale.errors import UserError
from rescale.execution import ExecutionMode
from rescale.figure import Figure
from rescale.models import cost_of
from rescale.models.execute import check_mode
from rescale.models.start import model_to_train
from rescale.recipes import Recipe, held_out, recipe, resolve, with_changes
from rescale.studies.analysis import common_figure
from rescale.studies.plan import Item, Plan
from rescale.tasks import task_of
from rescale.training import check_batch, check_parts

Key = TypeVar("Key")
Value = TypeVar("Value")


def check(plan: Plan) -> list[str]:
    """Look up every model, recipe and data set, then check that they fit; all mistakes in one UserError.

    All runs must be judged by the same headline figure.

    Returns:
        What was recognised, assumed or passed over in the data, one line each.
    """
    models = _look_up(model_to_train, (item.model for item in plan.items))
    recipes = _look_up(_changed, ((item.recipe, item.changes) for item in plan.items))
    data = _look_up(open_data, (item.data for item in plan.items))
    _raise_mistakes(models, recipes, data)

    def checked_headline(item: Item) -> Figure:
        recipe, model = recipes[item.recipe, item.changes], models[item.model]
        images = round(len(data[item.data].train) * (1 - held_out(recipe, model)))
        resolved = resolve(recipe, model, images).recipe
        task = task_of(resolved, data[item.data])
        task.check(data[item.data])
        check_parts(data[item.data])
        cost_of(task.adapt(model, data[item.data]))  # an external model may not take these images
        check_batch(resolved, model, images)
        if plan.timing.fast != "auto":
            check_mode(model, ExecutionMode.parse(plan.timing.fast), plan.timing.device)
        return task.headline

    figures = _look_up(checked_headline, (item for item in plan.items if item.seed == plan.items[0].seed))
    _raise_mistakes(figures)
    common_figure(figures)
    return [f"{opened.spec.name}: {note}" for opened in data.values() for note in opened.notes]


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


def _changed(key: tuple[str, tuple[str, ...]]) -> Recipe:
    name, changes = key
    return with_changes(recipe(name), changes)
