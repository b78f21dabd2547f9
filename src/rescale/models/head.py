"""The classifier of a model and what stands before it: linear probes, features."""

from typing import Any

import torch
from torch import Tensor, nn

from rescale.errors import UserError
from rescale.models.build import Model


def classifier_of(module: nn.Module) -> nn.Linear:
    """The linear layer that makes the outputs: of a network of ours its head's, of timm's models what
    `get_classifier` returns, of others the last linear layer.

    Raises:
        UserError: there is none, or the classifier is something else than one linear layer.
    """
    return _named_classifier(module)[1]


def classifier_name(module: nn.Module) -> str | None:
    """The classifier's path in the module; None where the model has no single linear classifier."""
    try:
        return _named_classifier(module)[0]
    except UserError:
        return None


def freeze_backbone(module: nn.Module) -> None:
    """Let the optimizer change nothing but the classifier. `train_mode` keeps the rest as it is, too.

    Raises:
        UserError: the model has no single linear classifier.
    """
    classifier = classifier_of(module)
    module.requires_grad_(False)
    classifier.requires_grad_(True)


def train_mode(module: nn.Module) -> nn.Module:
    """Put a module into training mode and what is frozen in it into evaluation mode.

    Frozen is what has parameters and none that is trained: its dropout, stochastic depth and batch norm do
    nothing random, and its buffers stay. Beside frozen parts, so is what has buffers without parameters.
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
    """What the classifier is given for these inputs: [N, channels, R, R] -> [N, features].

    The module runs in the mode and with the gradients that the caller has set.

    Raises:
        UserError: the model has no single linear classifier, or its input is not one vector an image.
    """
    seen: list[Tensor] = []

    def keep(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        seen.append(arguments[0])

    handle = classifier_of(module).register_forward_pre_hook(keep)
    try:
        module(inputs)
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0].ndim != 2:
        raise UserError(f"{type(module).__name__}: its classifier is not given one vector for each image")
    return seen[0]


class ChosenOutputs(nn.Module):
    """A model whose outputs are some of another's, in another order."""

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
        raise UserError(
            f"{type(module).__name__}: has no linear classifier, but {type(classifier).__name__}; "
            "only a model that ends in one linear layer has a head that can be exchanged or trained alone"
        )
    return names[classifier], classifier
