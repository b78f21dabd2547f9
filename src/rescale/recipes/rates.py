"""The values of a recipe that are built into a model."""

from rescale.models import Rates
from rescale.recipes.recipe import Recipe


def rates_of(recipe: Recipe) -> Rates:
    """The values of a resolved recipe that are built into a model."""
    return Rates(
        float(recipe.dropout),
        float(recipe.stochastic_depth),
        recipe.stochastic_depth_by,
        float(recipe.bn_momentum),
    )
