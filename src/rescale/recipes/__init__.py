"""Recipes: values whose rules are resolved before anything runs, and what they mean in torch."""

from rescale.recipes.named import NAMED
from rescale.recipes.recipe import MEANING, Recipe
from rescale.recipes.resolve import Resolved, facts_of, resolve
from rescale.recipes.text import changed, differences, from_file, recipe, to_yaml, with_changes

__all__ = [
    "MEANING",
    "NAMED",
    "Recipe",
    "Resolved",
    "changed",
    "differences",
    "facts_of",
    "from_file",
    "recipe",
    "resolve",
    "to_yaml",
    "with_changes",
]
