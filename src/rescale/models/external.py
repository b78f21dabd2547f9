"""External models: `timm:NAME` or `python:package.module:function`."""

import importlib
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rescale.errors import UserError, nearest, plural
from rescale.models.blocks import Rates
from rescale.models.count import Counted, counted
from rescale.outputs import EXTERNAL_FILE


@dataclass(frozen=True)
class External:
    """A model from timm or from a Python function, identified by where it comes from.

    Args:
        name: `timm:NAME` or `python:package.module:function`, optionally followed by `@resolution`; or any
            label, if `source` holds this text.
        resolution: pixels per side of the square images, at least 1.
        classes: number of outputs, at least 1.
        source: where the model comes from, if its name is a label.
    """

    name: str
    resolution: int
    classes: int = 1000
    source: str = ""

    @property
    def origin(self) -> str:
        """`timm:NAME` or `python:package.module:function`, without the resolution."""
        return (self.source or self.name).split("@")[0]

    def at(self, resolution: int) -> "External":
        """The same model for another input size."""
        base = self.name.split("@")[0]
        return replace(self, name=f"{base}@{resolution}", resolution=resolution)

    def with_classes(self, classes: int) -> "External":
        """The same model with a head of `classes` outputs."""
        return replace(self, classes=classes)

    def labelled(self, label: str) -> "External":
        """The same model under another name, which is used in tables and messages."""
        return replace(self, name=label, source=self.source or self.name)

    @property
    def identity(self) -> str:
        """The identity of the model: its origin, resolution and number of classes."""
        return f"{self.origin}@{self.resolution}/{self.classes}"


def external(text: str) -> External:
    """Read `timm:NAME[@resolution]` or `python:package.module:function[@resolution]`.

    The default resolution is timm's for the model, and 224 for a function.
    """
    name, _, size = text.partition("@")
    if size and not (size.isdecimal() and int(size) > 0):
        raise UserError(f"{text}: @{size} is not a resolution; write a number of pixels, as in {name}@224")
    default = _timm_resolution(name) if name.startswith("timm:") else 224
    return External(text, int(size or default))


def external_in(folder: Path) -> External:
    """The external model that a model folder holds. Raises UserError if its file is damaged."""
    try:
        return External(**json.loads((folder / EXTERNAL_FILE).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder / EXTERNAL_FILE}: must hold name, resolution and classes of a model: {error}"
        ) from None


def build_external(model: External, rates: Rates) -> tuple[nn.Module, list[str]]:
    """Build the module; also returns the rates that could not be applied, one line each.

    Raises UserError if it cannot be found or its own code fails; one line says why.
    """
    build = _build_timm if model.origin.startswith("timm:") else _build_python
    module, missed = build(model, rates)
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = rates.bn_momentum
    if not norms and rates.bn_momentum != Rates.bn_momentum:
        missed.append(f"{model.name}: batch-norm momentum {rates.bn_momentum} (it has no batch norm)")
    return module, missed


@cache
def external_cost(model: External) -> Counted:
    """The cost, counted in a forward pass of one image.

    On the meta device, which needs no memory; on the CPU if the model's code needs values.

    Raises:
        UserError: the model cannot be built or does not take images of its resolution.
    """
    try:
        with torch.device("meta"):
            return _counted(model)
    except Exception:  # code that reads values fails on the meta device, as it may
        return _counted_on_cpu(model)


def _counted_on_cpu(model: External) -> Counted:
    try:
        with torch.random.fork_rng(devices=[]):  # counting must not advance the caller's generator
            return _counted(model)
    except UserError:
        raise
    except Exception as error:  # a model's own code may raise anything
        hint = "choose the resolution that it is made for"
        if model.origin.startswith("python:"):
            hint = "let its function take `resolution`, or choose the one that it is made for"
        raise UserError(
            f"{model.name}: fails on an image of {model.resolution} x {model.resolution} pixels "
            f"({_in_one_line(error)}); {hint}"
        ) from None


def _counted(model: External) -> Counted:
    module, _ = build_external(model, Rates())
    return counted(module, model.resolution)


@cache
def check_outputs(model: External) -> None:
    """Check that the module returns one vector of `classes` values an image, in training and in evaluation.

    Raises:
        UserError: it returns something else, such as a tuple with auxiliary outputs in training; or it cannot
            be built.
    """
    for training, when in ((False, "in evaluation"), (True, "in training")):
        output = _output(model, training)
        if not isinstance(output, Tensor) or output.ndim != 2:
            is_tensor = isinstance(output, Tensor)
            kind = f"a tensor of shape {list(output.shape)}" if is_tensor else f"a {type(output).__name__}"
            raise UserError(
                f"{model.name}: returns {kind} {when}; classification needs one tensor [images, num_classes]"
            )
        if output.shape[1] != model.classes:
            outputs = plural(output.shape[1], "output")
            raise UserError(f"{model.name}: has {outputs} {when}, not num_classes={model.classes}")


def _output(model: External, training: bool) -> Any:
    """What a module returns for two images: on the meta device, or on the CPU if its code needs values."""
    try:
        with torch.device("meta"):
            return _returned(model, training)
    except Exception:  # code that reads values fails on the meta device, as it may
        try:
            with torch.random.fork_rng(devices=[]):
                return _returned(model, training)
        except Exception as error:  # a model's own code may raise anything
            when = "training" if training else "evaluation"
            raise UserError(f"{model.name}: fails in {when} ({_in_one_line(error)})") from None


def _returned(model: External, training: bool) -> Any:
    module, _ = build_external(model, Rates())
    with torch.no_grad():
        return module.train(training)(torch.zeros(2, 3, model.resolution, model.resolution))


def _timm_config(name: str) -> Any:
    """timm's configuration of a model by its name, with or without a tag of weights."""
    import timm

    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}; {nearest(name, timm.list_models())}")
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag of weights
        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise UserError(f"timm:{name}: {error} {nearest(name, known)}") from None


def _timm_resolution(name: str) -> int:
    config = _timm_config(name.removeprefix("timm:"))
    return int(config.input_size[-1]) if config else 224


def _build_timm(model: External, rates: Rates) -> tuple[nn.Module, list[str]]:
    import timm

    name = model.origin.removeprefix("timm:")
    arguments: dict[str, Any] = {"num_classes": model.classes, "drop_rate": rates.dropout}
    config = _timm_config(name)
    if config and config.fixed_input_size and model.resolution != config.input_size[-1]:
        arguments["img_size"] = model.resolution
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
    try:
        return timm.create_model(name, **arguments), missed
    except (AssertionError, TypeError, ValueError) as error:  # an input size that its patches do not divide
        raise UserError(f"{model.name}: timm cannot build it ({_in_one_line(error)})") from None


def _build_python(model: External, rates: Rates) -> tuple[nn.Module, list[str]]:
    function = python_function(model)
    offered = {
        "resolution": model.resolution,
        "drop_rate": rates.dropout,
        "drop_path_rate": rates.stochastic_depth,
    }
    taken = _parameters(model, function)
    arguments = {"num_classes": model.classes, **{k: v for k, v in offered.items() if k in taken}}
    try:
        module = function(**arguments)
    except Exception as error:  # the user's own code may raise anything
        call = ", ".join(f"{name}={value}" for name, value in arguments.items())
        raise UserError(f"{model.name}: called with {call} it raised {_in_one_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{model.name}: returned {type(module).__name__}, not an nn.Module")
    missed = []
    for what, name in (("dropout", "drop_rate"), ("stochastic depth", "drop_path_rate")):
        if offered[name] and name not in taken:
            missed.append(f"{model.name}: {what} {offered[name]} (its function takes no {name})")
    return module, missed


def python_function(model: External) -> Callable[..., Any]:
    """The function of a `python:` model. Raises UserError if it cannot be imported."""
    module_name, _, name = model.origin.removeprefix("python:").partition(":")
    if not (module_name and name):
        raise UserError(f"{model.name}: write python:package.module:function")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # find modules in the working directory, as `python -m` does
    try:
        function = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        hint = ""
        if error.name == module_name.partition(".")[0]:
            hint = f"; run the command in the folder that holds {error.name}, or add that to PYTHONPATH"
        raise UserError(f"{model.name}: cannot be imported: {_in_one_line(error)}{hint}") from None
    except Exception as error:  # the user's own code may raise anything
        raise UserError(f"{model.name}: cannot be imported: {_in_one_line(error)}") from None
    if not callable(function):
        raise UserError(f"{model.name}: is a {type(function).__name__}, not a function")
    return function


def _parameters(model: External, function: Callable[..., Any]) -> set[str]:
    """The names of the parameters that the function takes by keyword. `num_classes` must be one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled code has no signature
        return {"num_classes"}
    if all(p.name != "num_classes" and p.kind is not p.VAR_KEYWORD for p in parameters):
        raise UserError(
            f"{model.name}: takes no num_classes, which is the number of outputs that the data needs; "
            f"write: def {getattr(function, '__name__', 'function')}(num_classes, ...)"
        )
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _in_one_line(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}{'...' if len(words) > 200 else ''}"
