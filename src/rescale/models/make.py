"""Functions for both kinds of models: this project's networks and external models."""

from torch import nn

from rescale.cost import Cost, cost
from rescale.lookup import OTHERS, network
from rescale.models.blocks import Rates
from rescale.models.build import build
from rescale.models.external import External, build_external, external, external_cost
from rescale.network import Network


def model_named(text: str) -> Network | External:
    """A network by name or file, or an external model (`timm:NAME`, `python:module:function`)."""
    return external(text) if text.startswith(OTHERS) else network(text)


def make(model: Network | External, rates: Rates | None = None) -> tuple[nn.Module, list[str]]:
    """Build a model of either kind; also returns a note for each rate that could not be applied."""
    if isinstance(model, External):
        module, missed = build_external(model, rates or Rates())
        return module, [f"not applied: {line}" for line in missed]
    return build(model, rates=rates), []


def cost_of(model: Network | External) -> Cost:
    """The cost of a model: by arithmetic for a network, by hooks for an external model."""
    return external_cost(model) if isinstance(model, External) else cost(model)
