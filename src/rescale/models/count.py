"""Cost of a module counted in a forward pass: for external models, and to check the arithmetic of `cost`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from rescale.cost import Cost

Source = Literal["arithmetic", "hooks", "flop counter"]
"""How multiply-adds were counted: from a network's description; in the modules of a forward pass, which
torch's flop counter confirms; by torch's flop counter, because modules do not see all products."""

_LINEAR = (nn.Conv2d, nn.Linear)
_COUNTED = (*_LINEAR, nn.MaxPool2d, nn.AvgPool2d, nn.MultiheadAttention)


class Counted(NamedTuple):
    """The cost of a module, and how its multiply-adds were counted.

    outputs: the length of an external model's output, if that is one vector per image.
    """

    cost: Cost
    source: Source
    outputs: int | None = None


class _Sums:
    """Sums over the modules of a forward pass: multiply-adds without biases, biases, and outputs."""

    def __init__(self) -> None:
        self.products = self.biases = self.outputs = 0

    def add(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """A forward hook."""
        if isinstance(module, nn.MultiheadAttention):  # four linear layers that are not called as modules
            query, key = inputs[0], inputs[1] if len(inputs) > 1 else inputs[0]
            rows = 2 * query[..., 0].numel() + 2 * key[..., 0].numel()
            self.outputs += rows * module.embed_dim
            return
        self.outputs += output.numel()
        if isinstance(module, _LINEAR):
            self.products += output.numel() * module.weight[0].numel()
            self.biases += output.numel() if module.bias is not None else 0


def count(model: nn.Module, resolution: int, channels: int = 3) -> Cost:
    """Cost of one image, counted in a forward pass; for this project's networks equal to that of `cost`.

    Convolutions, linear layers and spatial pools are counted if they are modules. Products in functions, as
    in attention, are not; see `counted`.
    """
    sums = _Sums()
    _forward(model, resolution, channels, sums)
    return _cost(model, sums, sums.products + sums.biases)


def counted(model: nn.Module, resolution: int, channels: int = 3) -> Counted:
    """Cost of one image of any module, with multiply-adds by torch's flop counter, cross-checked by hooks.

    Half of the flops are multiply-adds. If the modules account for all of them, one is added for each output
    with a bias, as `cost` does; the flop counter itself ignores biases. If the modules account for more, an
    operation is unknown to the flop counter, and the modules' sum is returned.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports triton, which takes long

    sums, flops = _Sums(), FlopCounterMode(display=False)
    with flops:
        _forward(model, resolution, channels, sums)
    products = flops.get_total_flops() // 2
    if products > sums.products:
        return Counted(_cost(model, sums, products), "flop counter")
    return Counted(_cost(model, sums, sums.products + sums.biases), "hooks")


def _forward(model: nn.Module, resolution: int, channels: int, sums: _Sums) -> None:
    """One image through the model in evaluation mode, with the hooks of `sums` in place."""
    hooks = [m.register_forward_hook(sums.add) for m in model.modules() if isinstance(m, _COUNTED)]
    was_training = model.training
    weight = next(model.parameters(), torch.zeros(()))
    try:
        image = torch.zeros(1, channels, resolution, resolution, device=weight.device, dtype=weight.dtype)
        with torch.no_grad(), _every_operation():
            model.eval()(image)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()


@contextmanager
def _every_operation() -> Iterator[None]:
    """Within this context torch's attention is not replaced by one operation, which would not be counted."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _cost(model: nn.Module, sums: _Sums, macs: int) -> Cost:
    return Cost(macs, sum(p.numel() for p in model.parameters()), sums.outputs)
