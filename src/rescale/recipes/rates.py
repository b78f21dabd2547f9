"""The part of a recipe that lives inside a model."""

from rescale.models import Rates
from rescale.recipes.recipe import Recipe


def rates_of(recipe: Recipe) -> Rates:
    """What a resolved recipe sets inside a model."""
    return Rates(
        float(recipe.dropout),
        float(recipe.stochastic_depth),
        recipe.stochastic_depth_by,
        float(recipe.bn_momentum),
    )
