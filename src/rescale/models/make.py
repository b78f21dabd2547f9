"""Functions for both kinds of models: this project's networks and external models."""

from pathlib import Path

from torch import nn

from rescale.cost import Cost, cost
from rescale.lookup import OTHERS, is_external, label_and_name, network
from rescale.models.blocks import Rates
from rescale.models.build import build
from rescale.models.count import Counted
from rescale.models.external import External, build_external, external, external_cost, external_in
from rescale.network import Network


def model_named(text: str) -> Network | External:
    """A network by name or file, or an external model: `timm:NAME`, `python:module:function`.

    Either may be a model folder. `label=NAME` is the same model under another name.
    """
    if not is_external(text):
        return network(text)
    label, name = label_and_name(text)
    model = external(name) if name.startswith(OTHERS) else external_in(Path(name))
    return model.labelled(label) if label else model


def make(model: Network | External, rates: Rates | None = None) -> tuple[nn.Module, list[str]]:
    """Build a model of either kind; also returns a note for each rate that could not be applied."""
    if isinstance(model, External):
        module, missed = build_external(model, rates or Rates())
        return module, [f"not applied: {line}" for line in missed]
    return build(model, rates=rates), []


def cost_of(model: Network | External) -> Cost:
    """The cost of a model: by arithmetic for a network, counted in a forward pass for an external model."""
    return counted_cost(model).cost


def counted_cost(model: Network | External) -> Counted:
    """The cost of a model, and how its multiply-adds were counted.

    Raises UserError if an external model cannot be built or does not take images of its resolution.
    """
    return external_cost(model) if isinstance(model, External) else Counted(cost(model), "arithmetic")
