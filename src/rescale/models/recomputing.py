"""Feature maps that are computed again in the backward pass instead of being stored.

Batch norm stores its input, the output of a convolution. The output of a ReLU after it follows elementwise,
and so does the product of squeeze-and-excitation. Storing these as well takes two to three times the memory.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

# other classes take their statistics from all processes
RECOMPUTED_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


_Key = tuple[int, tuple[int, ...], tuple[int, ...]]


class Recomputation:
    """How to compute a tensor again: once, for all operations of the backward pass that need it.

    The value is released with the last of these operations, which hold the only references.
    """

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self.compute = compute
        self.value: Tensor | None = None

    def __call__(self) -> Tensor:
        if self.value is None:
            with torch.no_grad():
                self.value = self.compute()
        return self.value


class Recomputing:
    """A context for the forward pass of a block: autograd does not store the maps that its methods return.

    The same operations on the same values give the same bits. The context keeps the maps until it ends, so
    that their addresses identify them. An operation outside the context that needs one of them stores it.

    enabled: False to store all maps, as torch does. Compilers decide themselves what to recompute.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        self.maps: dict[_Key, tuple[Tensor, Recomputation]] = {}

    def __enter__(self) -> Self:
        if self.enabled:
            self.hooks = saved_tensors_hooks(self._pack, _unpack)
            self.hooks.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.enabled:
            self.hooks.__exit__(*exception)
        self.maps.clear()

    def norm_act(self, norm: nn.Module, act: nn.Module | None, x: Tensor) -> Tensor:
        """act(norm(x)), computed again from x.

        Both are stored if the activation is not in place, because its gradient needs its input: computing
        SiLU and batch norm again would take a seventh of EfficientNet's step.
        """
        normed = norm(x)
        in_place = act is None or getattr(act, "inplace", False)
        supported = type(norm) in RECOMPUTED_NORMS and norm.training
        if self.enabled and in_place and supported:
            assert isinstance(norm, _BatchNorm)
            again = _normalised(norm, x.detach())
            self._register(normed, again if act is None else lambda: act(again()))
        return normed if act is None else act(normed)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """x * weight, computed again from x, which may be a map of this context."""
        y = x * weight
        if self.enabled:
            source, factor = self._pack(x.detach()), weight.detach()
            self._register(y, lambda: _unpack(source) * factor)
        return y

    def _register(self, y: Tensor, compute: Callable[[], Tensor]) -> None:
        self.maps[_key(y)] = y, Recomputation(compute)

    def _pack(self, tensor: Tensor) -> Tensor | Recomputation:
        known = self.maps.get(_key(tensor))
        return tensor if known is None else known[1]


def _key(tensor: Tensor) -> _Key:
    """What a map and the tensors that share all of its elements have in common."""
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _unpack(packed: Tensor | Recomputation) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed()


def _normalised(norm: _BatchNorm, x: Tensor) -> Callable[[], Tensor]:
    """Batch norm of x by its own statistics, without an update of the running ones."""
    return lambda: F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)
