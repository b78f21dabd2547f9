"""Either kind of model: a network of ours or one that is not."""

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
    """Build either kind; the second value says, one line each, which rates could not be applied."""
    if isinstance(model, External):
        return build_external(model, rates or Rates())
    return build(model, rates=rates), []


def cost_of(model: Network | External) -> Cost:
    """Cost of either kind: by arithmetic for a network, by hooks for an external model."""
    return external_cost(model) if isinstance(model, External) else cost(model)
