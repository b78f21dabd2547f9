"""Cost of a module counted in a forward pass: for external models, and to check the arithmetic of `cost`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from rescale.cost import Cost

Source = Literal["arithmetic", "hooks", "flop counter", "incomplete"]
"""How multiply-adds were counted: from a network's description; in the modules of a forward pass, where
torch's flop counter finds no others; by torch's flop counter, because modules do not see all products; by the
one that finds more, while some operation is known to neither."""

_LINEAR = (_ConvNd, nn.Linear, nn.Bilinear)
_COUNTED = (*_LINEAR, _MaxPoolNd, _AvgPoolNd, nn.MultiheadAttention)


class Counted(NamedTuple):
    """The cost of a module, and how its multiply-adds were counted.

    outputs: the length of an external model's output, if that is one vector per image. uncounted: operations
    whose multiply-adds are not counted; if there are any, the source is `incomplete`.
    """

    cost: Cost
    source: Source
    outputs: int | None = None
    uncounted: tuple[str, ...] = ()


class _Sums:
    """Sums over the modules of a forward pass: multiply-adds without biases, biases, and outputs.

    failed: modules that could not be counted.
    """

    def __init__(self) -> None:
        self.products = self.biases = self.outputs = 0
        self.failed: set[str] = set()

    def add(self, module: nn.Module, inputs: Any, keywords: Any, output: Any) -> None:
        """A forward hook. It never raises: an error here would look like one of the model."""
        try:
            self._add(module, [*inputs, *keywords.values()], keywords, output)
        except Exception:  # a class derived from torch's may change everything
            self.failed.add(type(module).__name__)

    def _add(self, module: nn.Module, arguments: list[Any], keywords: Any, output: Any) -> None:
        if isinstance(module, nn.MultiheadAttention):  # four linear layers that are not called as modules
            query = keywords.get("query", arguments[0])
            key = keywords.get("key", arguments[1])
            rows = 2 * query[..., 0].numel() + 2 * key[..., 0].numel()
            self.outputs += rows * module.embed_dim
            return
        outputs = (output[0] if isinstance(output, tuple) else output).numel()  # pools may return positions
        if isinstance(module, _LINEAR):
            weighted = arguments[0].numel() if isinstance(module, _ConvTransposeNd) else outputs
            self.products += weighted * module.weight[0].numel()
            self.biases += outputs if module.bias is not None else 0
        self.outputs += outputs


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

    Raises what the model raises, and nothing else: if the flop counter fails, the modules' sum is returned.
    """
    from rescale.models.flops import products

    sums = _Sums()
    try:
        output, macs, unknown = products(lambda: _forward(model, resolution, channels, sums))
    except Exception as error:  # of the model, which then raises it again, or of the flop counter
        sums = _Sums()
        output = _forward(model, resolution, channels, sums)
        macs, unknown = 0, (f"what torch's flop counter fails on ({' '.join(str(error).split())[:80]})",)
    uncounted = (*unknown, *sorted(sums.failed))
    vector = isinstance(output, Tensor) and output.ndim == 2
    by_flops = macs > sums.products
    cost = _cost(model, sums, macs if by_flops else sums.products + sums.biases)
    source: Source = "incomplete" if uncounted else "flop counter" if by_flops else "hooks"
    return Counted(cost, source, output.shape[1] if vector else None, uncounted)


def _forward(model: nn.Module, resolution: int, channels: int, sums: _Sums) -> Any:
    """The output for one image in evaluation mode, with the hooks of `sums` in place."""
    modules = [m for m in model.modules() if isinstance(m, _COUNTED)]
    hooks = [m.register_forward_hook(sums.add, with_kwargs=True) for m in modules]
    was_training = model.training
    weight = next(model.parameters(), torch.zeros(()))
    try:
        image = torch.zeros(1, channels, resolution, resolution, device=weight.device, dtype=weight.dtype)
        with torch.no_grad(), _every_operation():
            return model.eval()(image)
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
