"""Training recipes: values whose rules are resolved before training starts."""

from rescale.recipes.named import FINETUNE_RATES, FINETUNE_STEPS, NAMED
from rescale.recipes.needs import check_installed
from rescale.recipes.recipe import MEANING, Recipe
from rescale.recipes.resolve import Resolved, facts_of, held_out, resolve
from rescale.recipes.text import changed, differences, from_file, recipe, to_yaml, with_changes

__all__ = [
    "FINETUNE_RATES",
    "FINETUNE_STEPS",
    "MEANING",
    "NAMED",
    "Recipe",
    "Resolved",
    "changed",
    "check_installed",
    "differences",
    "facts_of",
    "from_file",
    "held_out",
    "recipe",
    "resolve",
    "to_yaml",
    "with_changes",
]
