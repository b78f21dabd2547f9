"""From a recipe with rules to one with numbers, for one model; and what of it is the project's own."""

from dataclasses import dataclass

from rescale.models import External
from rescale.network import Network
from rescale.recipes.recipe import Recipe
from rescale.recipes.rules import RULES, Facts, Value


@dataclass(frozen=True)
class Resolved:
    """A recipe of numbers only. sources: field -> where its number comes from, for fields that were rules.

    notes: one line for each rule that could not look at what it needs.
    """

    recipe: Recipe
    sources: dict[str, str]
    notes: tuple[str, ...] = ()


def resolve(recipe: Recipe, model: Network | External, *, native_bf16: bool = False) -> Resolved:
    """Turn every rule into its number. native_bf16: the device multiplies bfloat16 in hardware."""
    facts = facts_of(model, native_bf16)
    notes = []
    sources: dict[str, str] = {}
    for (field, name), rule in RULES.items():
        if getattr(recipe, field) != name or isinstance(getattr(recipe, field), bool):
            continue
        found: Value = rule(recipe, facts)
        recipe = recipe.model_copy(update={field: found.value})
        sources[field] = found.source
        if facts.depth is None and field in ("dropout", "stochastic_depth", "randaugment_magnitude"):
            notes.append(
                f"{model.name}: {name} has no row for it; {field} is {found.value:g} ({found.source})"
            )
    return Resolved(Recipe.model_validate(recipe.model_dump()), sources, tuple(notes))


def facts_of(model: Network | External, native_bf16: bool = False) -> Facts:
    """What rules may look at."""
    if isinstance(model, External):
        return Facts(model.resolution, native_bf16=native_bf16)
    return Facts(model.resolution, model.depth, model.width, native_bf16)
