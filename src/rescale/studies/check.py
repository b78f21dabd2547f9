"""Whether a plan can be carried out, known before anything runs."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from rescale.data import open_data
from rescale.errors import UserError
from rescale.models import model_named
from rescale.recipes import Recipe, recipe, resolve, with_changes
from rescale.studies.plan import Item, Plan
from rescale.training import check_batch

Key = TypeVar("Key")
Found = TypeVar("Found")


def check(plan: Plan) -> None:
    """Look up every model, recipe and data set, then hold them together; all mistakes in one UserError."""
    models = _all(model_named, (item.model for item in plan.items))
    recipes = _all(_changed, ((item.recipe, item.changes) for item in plan.items))
    data = _all(open_data, (item.data for item in plan.items))
    _refuse(models, recipes, data)

    def together(item: Item) -> None:
        chosen = resolve(recipes[item.recipe, item.changes], models[item.model]).recipe
        images = len(data[item.data].train)
        check_batch(chosen, images - round(images * float(chosen.minival)))

    _refuse(_all(together, (item for item in plan.items if item.seed == plan.items[0].seed)))


class _Lookup(dict[Key, Found]):
    """What was found for each key, and the mistakes made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.mistakes: list[str] = []


def _all(find: Callable[[Key], Found], keys: Iterable[Key]) -> _Lookup[Key, Found]:
    looked_up: _Lookup[Key, Found] = _Lookup()
    for key in dict.fromkeys(keys):
        try:
            looked_up[key] = find(key)
        except UserError as error:
            looked_up.mistakes += error.lines
    return looked_up


def _refuse(*lookups: "_Lookup") -> None:
    if mistakes := list(dict.fromkeys(line for lookup in lookups for line in lookup.mistakes)):
        raise UserError(*mistakes)


def _changed(asked: tuple[str, tuple[str, ...]]) -> Recipe:
    name, changes = asked
    return with_changes(recipe(name), changes)
