"""From a recipe with rules to one with values, for one model and length, with sources and notes."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rescale.errors import UserError
from rescale.families.resnet import layers_and_width
from rescale.network import Network
from rescale.recipes.named import norm_eps, origins
from rescale.recipes.recipe import Recipe
from rescale.recipes.rules import REGULARIZED_FROM, RULES, SHORT, Facts, Rule, Value

if TYPE_CHECKING:  # imports torch, which listing recipes does not need
    from rescale.models import External

ABOUT_THE_NETWORK = ("dropout", "stochastic_depth", "randaugment_magnitude")
METHODS = {  # methods that the length of a run switches off, by field
    "dropout": "dropout",
    "stochastic_depth": "stochastic depth",
    "label_smoothing": "label smoothing",
    "augment": "RandAugment",
}
STRONGER_BELOW = 10.0  # RandAugment's magnitude


@dataclass(frozen=True)
class Resolved:
    """A recipe without rules. sources: the table, rule or code that each field's value comes from.

    notes: what a reader of the results should know, one line each; for example a rule that lacks the
    information it needs, or methods that are off in a short run.
    """

    recipe: Recipe
    sources: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Applied:
    """An applied rule: its name in the recipe, the function, and the resulting value."""

    name: str
    rule: Rule
    value: Value


def resolve(
    recipe: Recipe, model: "Network | External", images: int | None = None, *, native_bf16: bool = False
) -> Resolved:
    """Replace every rule of a recipe by its value for one model.

    Args:
        recipe: the recipe.
        model: the model; rules depend on its resolution and, for ResNets, on its depth and width.
        images: number of training images without those held out. If the length is in steps, it is converted
            into epochs, and `epochs` becomes the number of epochs that are started. None: such a run counts
            as a long one, and a note says so.
        native_bf16: whether the device multiplies bfloat16 in hardware, for `precision`.

    Returns:
        The recipe without rules, the source of each value, and notes.

    Raises:
        UserError: the warm-up is not shorter than the run.

    Source:
        `sources` of the result has the source of each value.
    """
    length = recipe.length_in_epochs(images)
    facts = facts_of(model, length, native_bf16)
    resolved, applied = _without_rules(recipe, facts)
    sources = origins(recipe) | {field: rule.value.source for field, rule in applied.items()}
    if recipe.steps is not None and length is not None:
        resolved = resolved.model_copy(update={"epochs": math.ceil(length)})
        sources["epochs"] = "begun in as many steps"
    if length is not None and float(resolved.warmup_epochs) >= length:
        raise UserError(
            f"warmup_epochs {resolved.warmup_epochs:g} is not shorter than the run of {length:g} epochs; "
            f"use --set warmup_epochs={0.05 * length:.2g}"
        )
    notes = (
        *_unknown_network(model, facts, applied, resolved.augment),
        *_unknown_length(recipe, facts, applied),
        *_switched_off(recipe, facts, applied),
        *_surprises(resolved, model),
    )
    return Resolved(Recipe.model_validate(resolved.model_dump()), sources, notes)


def held_out(recipe: Recipe, model: "Network | External") -> float:
    """Share of the training images that the recipe holds out for a model.

    It is needed to open the data, so it depends on nothing that is known only from the data.
    """
    resolved, _ = _without_rules(recipe, facts_of(model), ("keep_best", "minival"))
    return float(resolved.minival)


def facts_of(model: "Network | External", epochs: float | None = None, native_bf16: bool = False) -> Facts:
    """The facts that rules depend on. Depth and width are known only for ResNets."""
    depth, width = (layers_and_width(model) if isinstance(model, Network) else None) or (None, None)
    return Facts(model.resolution, depth, width, epochs, native_bf16)


def _without_rules(
    recipe: Recipe, facts: Facts, fields: Collection[str] = tuple(Recipe.model_fields)
) -> tuple[Recipe, dict[str, _Applied]]:
    """The recipe with the rules of some fields applied in order, and the applied rules by field."""
    applied: dict[str, _Applied] = {}
    for (field, name), rule in RULES.items():
        if field in fields and getattr(recipe, field) == name:
            applied[field] = _Applied(name, rule, rule(recipe, facts))
            recipe = recipe.model_copy(update={field: applied[field].value.value})
    return recipe, applied


def _unknown_network(
    model: "Network | External", facts: Facts, applied: Mapping[str, _Applied], augment: str
) -> Iterator[str]:
    """A line for each rule in use that needs the depth or width of a model that has none."""
    if facts.depth is not None:
        return
    for field, rule in applied.items():
        value, source, instead_of = rule.value
        unused = instead_of is not None or (field == "randaugment_magnitude" and "rand" not in augment)
        if field in ABOUT_THE_NETWORK and not unused:
            yield f"{model.name}: {rule.name} has no row for it; {field} is {value:g} ({source})"


def _unknown_length(recipe: Recipe, facts: Facts, applied: Mapping[str, _Applied]) -> Iterator[str]:
    """A line with the fields that a short run would change, if the length is unknown."""
    if facts.epochs is not None:
        return
    short = replace(facts, epochs=1.0)
    fields = [field for field, rule in applied.items() if rule.rule(recipe, short).value != rule.value.value]
    if fields:
        yield (
            f"steps {recipe.steps}: without the number of training images the length in epochs is not known; "
            f"{_listed(fields)} as in a long run"
        )


def _switched_off(recipe: Recipe, facts: Facts, applied: Mapping[str, _Applied]) -> Iterator[str]:
    """A line with the values that a longer run would have."""
    off = {field: applied[field].value.instead_of for field in METHODS if field in applied}
    off = {field: value for field, value in off.items() if value}
    if not off or facts.epochs is None:
        return
    length = f"epochs {recipe.epochs}"
    if recipe.steps is not None:
        length = f"steps {recipe.steps}, epochs {facts.epochs:.4g}"
    published = facts.epochs <= SHORT
    why = "ResNet-RS, Appendix E" if published else f"own rule: on from {REGULARIZED_FROM}"
    field, value = next(iter(off.items()))
    yield (
        f"{length} {f'<= {SHORT}' if published else f'< {REGULARIZED_FROM}'}: "
        f"{_listed([METHODS[field] for field in off])} {'are' if len(off) > 1 else 'is'} off ({why}); "
        f"--set {field}={value} sets one"
    )


def _surprises(resolved: Recipe, model: "Network | External") -> Iterator[str]:
    """A line for each value whose effect a reader may not expect."""
    if resolved.schedule_by == "epoch" and float(resolved.warmup_epochs) >= 1 and resolved.warmup_from == 0:
        yield "schedule_by=epoch with warmup_from=0: the first epoch runs at rate 0"
    if resolved.augment == "randaugment" and float(resolved.randaugment_magnitude) < STRONGER_BELOW:
        yield (
            f"randaugment_magnitude {resolved.randaugment_magnitude:g}: below 10 posterize and solarize get "
            f"stronger, not milder; for mild augmentation use augment=randaugment-torchvision at 3"
        )
    published_eps = norm_eps(resolved)
    if published_eps is not None and isinstance(model, Network) and model.norm_eps != published_eps:
        yield (
            f"{model.name}: its batch norm has eps {model.norm_eps:g}; {published_eps:g} in the networks "
            f"that {resolved.name} was published with"
        )


def _listed(words: Sequence[str]) -> str:
    """The words as a list in a sentence: a; a and b; a, b and c."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
