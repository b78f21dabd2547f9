"""Models in torch: building modules, loading and exporting weights."""

from rescale.models.blocks import Rates
from rescale.models.build import Model, build
from rescale.models.count import count
from rescale.models.external import External, build_external, external, external_cost
from rescale.models.make import cost_of, counted_cost, make, model_named
from rescale.models.weights import Loaded, load_weights

__all__ = [
    "External",
    "Loaded",
    "Model",
    "Rates",
    "build",
    "build_external",
    "cost_of",
    "count",
    "counted_cost",
    "external",
    "external_cost",
    "load_weights",
    "make",
    "model_named",
]
