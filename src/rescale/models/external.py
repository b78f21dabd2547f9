"""External models: `timm:NAME` or `python:package.module:function`."""

import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from rescale.cost import Cost
from rescale.errors import UserError, nearest
from rescale.models.blocks import Rates
from rescale.models.count import count


@dataclass(frozen=True)
class External:
    """A model from timm or from a Python function, identified by its name.

    Args:
        name: `timm:NAME` or `python:package.module:function`, optionally followed by `@resolution`.
        resolution: pixels per side of the square images, at least 1.
        classes: number of outputs, at least 1.
    """

    name: str
    resolution: int
    classes: int = 1000

    def at(self, resolution: int) -> "External":
        """The same model for another input size."""
        return External(f"{self.name.split('@')[0]}@{resolution}", resolution, self.classes)

    def with_classes(self, classes: int) -> "External":
        """The same model with a head of `classes` outputs."""
        return replace(self, classes=classes)

    @property
    def identity(self) -> str:
        """The identity of the model, which consists of its name alone."""
        return f"{self.name.split('@')[0]}@{self.resolution}/{self.classes}"


def external(text: str) -> External:
    """Read `timm:NAME[@resolution]` or `python:package.module:function[@resolution]`.

    The default resolution is timm's for the model, and 224 for a function.
    """
    name, _, size = text.partition("@")
    if size and not (size.isdigit() and int(size) > 0):
        raise UserError(f"{text}: @{size} is not a resolution; write a number of pixels, as in {name}@224")
    default = _timm_resolution(name) if name.startswith("timm:") else 224
    return External(text, int(size or default))


def build_external(model: External, rates: Rates) -> tuple[nn.Module, list[str]]:
    """Build the module; also returns the rates that could not be applied, one line each."""
    name = model.name.split("@")[0]
    if name.startswith("timm:"):
        module, missed = _build_timm(name.removeprefix("timm:"), model, rates)
    else:
        module, missed = _build_python(name.removeprefix("python:"), model, rates)
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = rates.bn_momentum
    if not norms and rates.bn_momentum != Rates.bn_momentum:
        missed.append(f"{model.name}: batch-norm momentum {rates.bn_momentum} (it has no batch norm)")
    return module, missed


def external_cost(model: External) -> Cost:
    """The cost, counted by hooks on a module on the meta device, which needs no memory."""
    with torch.device("meta"):
        module, _ = build_external(model, Rates())
    return count(module, model.resolution)


def _timm_resolution(name: str) -> int:
    import timm

    bare = name.removeprefix("timm:")
    if not timm.is_model(bare):
        raise UserError(f"timm has no model {bare!r}; {nearest(bare, timm.list_models())}")
    try:
        config = timm.get_pretrained_cfg(bare)
    except RuntimeError as error:  # an unknown tag of weights
        known = timm.list_pretrained(f"{bare.partition('.')[0]}.*")
        raise UserError(f"timm:{bare}: {error} {nearest(bare, known)}") from None
    return int(config.input_size[-1]) if config else 224


def _build_timm(name: str, model: External, rates: Rates) -> tuple[nn.Module, list[str]]:
    import timm

    arguments = {"num_classes": model.classes, "drop_rate": rates.dropout}
    missed = []
    if rates.stochastic_depth:
        try:
            module = timm.create_model(name, drop_path_rate=rates.stochastic_depth, **arguments)
        except TypeError:
            missed.append(
                f"{model.name}: stochastic depth {rates.stochastic_depth} (it takes no drop_path_rate)"
            )
        else:
            if rates.stochastic_depth_by == "stage":
                missed.append(f"{model.name}: stochastic depth by stage (timm increases it block by block)")
            return module, missed
    return timm.create_model(name, **arguments), missed


def _build_python(path: str, model: External, rates: Rates) -> tuple[nn.Module, list[str]]:
    module_name, _, function = path.partition(":")
    if not (module_name and function):
        raise UserError(f"{model.name}: write python:package.module:function")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # find modules in the working directory, as `python -m` does
    try:
        factory = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{model.name}: {error}") from None
    module = factory(num_classes=model.classes)
    if not isinstance(module, nn.Module):
        raise UserError(f"{model.name}: {function} returned {type(module).__name__}, not an nn.Module")
    not_applied = {"dropout": rates.dropout, "stochastic depth": rates.stochastic_depth}
    return module, [
        f"{model.name}: {what} {rate} (set by the function)" for what, rate in not_applied.items() if rate
    ]
