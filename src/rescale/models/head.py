"""The classifier of a model and the features before it: linear probes, frozen backbones."""

from typing import Any

import torch
from torch import Tensor, nn

from rescale.errors import UserError
from rescale.models.build import Model


def classifier_of(module: nn.Module) -> nn.Linear:
    """The linear layer that computes the outputs.

    For this project's networks it is the head's, for timm's models what `get_classifier` returns, for other
    models the last linear layer.

    Raises:
        UserError: the classifier is not a single linear layer.
    """
    return _named_classifier(module)[1]


def classifier_name(module: nn.Module) -> str | None:
    """The classifier's path in the module; None if the model has no single linear classifier."""
    try:
        return _named_classifier(module)[0]
    except UserError:
        return None


def freeze_backbone(module: nn.Module) -> None:
    """Freeze all parameters except the classifier's. `train_mode` also freezes the backbone's buffers.

    Raises:
        UserError: the model has no single linear classifier.
    """
    classifier = classifier_of(module)
    module.requires_grad_(False)
    classifier.requires_grad_(True)


def train_mode(module: nn.Module) -> nn.Module:
    """Put a module into training mode, and its frozen submodules into evaluation mode.

    A submodule is frozen if it has parameters and none of them is trained: its dropout, stochastic depth and
    batch norm are then deterministic and its buffers do not change. In a model with frozen parameters,
    submodules with buffers and without parameters are frozen too.
    """
    module.train()
    parameters = list(module.parameters())
    if all(parameter.requires_grad for parameter in parameters):
        return module
    for part in module.modules():
        own = list(part.parameters())
        is_frozen = not any(parameter.requires_grad for parameter in own)
        if is_frozen and (own or any(True for _ in part.buffers())):
            part.eval()
    return module


def features_of(module: nn.Module, inputs: Tensor) -> Tensor:
    """The inputs of the classifier: images [N, channels, R, R] -> features [N, features].

    The module runs in the mode and with the gradients that the caller has set.

    Raises:
        UserError: the model has no single linear classifier, or its input is not one vector per image.
    """
    recorded: list[Tensor] = []

    def record(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        recorded.extend([*arguments, *keywords.values()])

    handle = classifier_of(module).register_forward_pre_hook(record, with_kwargs=True)
    try:
        module(inputs)
    finally:
        handle.remove()
    if len(recorded) != 1 or recorded[0].ndim != 2:
        raise UserError(f"{type(module).__name__}: the input of its classifier is not one vector per image")
    return recorded[0]


class ChosenOutputs(nn.Module):
    """A model with a selection of another model's outputs, in a given order."""

    def __init__(self, module: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)[:, self.order]


def _named_classifier(module: nn.Module) -> tuple[str, nn.Linear]:
    names = {part: name for name, part in module.named_modules()}
    if isinstance(module, ChosenOutputs):
        name, linear = _named_classifier(module.module)
        return f"module.{name}", linear
    if isinstance(module, Model):
        classifier: Any = module.head.linear
    elif callable(get := getattr(module, "get_classifier", None)):
        classifier = get()
    else:
        classifier = next((part for part in reversed(names) if isinstance(part, nn.Linear)), None)
    if not isinstance(classifier, nn.Linear) or classifier not in names:
        kind = type(classifier).__name__
        problem = (
            "has no linear classifier"
            if classifier is None
            else f"its classifier is {kind}, not a linear layer"
        )
        raise UserError(
            f"{type(module).__name__}: {problem}; "
            "only a model that ends in one linear layer has a head that can be replaced or trained alone"
        )
    return names[classifier], classifier
