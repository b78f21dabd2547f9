"""Multiply-adds by torch's flop counter, with some operations added; it names those that it does not know."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Operations of aten that multiply and add. Interpolation, norms and elementwise operations do not count.
_PRODUCTS = re.compile(
    r"mm$|mv$|dot$|rnn|conv\dd|conv_tbc|convolution|attention|cdist|^_fft_|^linalg_(?!vector_norm)|(^|_)linear$"
)
_UNCOUNTED_LIBRARIES = re.compile(r"^(?!aten::|prims?::|profiler::|debugprims::|rngprims::)")


class Products(NamedTuple):
    """What a computation returns, its multiply-adds, and the operations whose products are not among them."""

    value: Any
    macs: int
    unknown: tuple[str, ...]


def products(compute: Callable[[], Any]) -> Products:
    """Run a computation and count its multiply-adds, half of the flops; raises what that raises."""
    from torch.utils.flop_counter import FlopCounterMode  # imports triton, which takes long

    operations, flops = _Operations(), FlopCounterMode(display=False, custom_mapping=_added())
    with operations, flops:
        value = compute()
    unknown = sorted(
        _name(packet)
        for packet in operations.packets - set(flops.flop_registry)
        if _may_multiply(_name(packet))
    )
    return Products(value, flops.get_total_flops() // 2, tuple(unknown))


class _Operations(TorchDispatchMode):
    """Records the operations that are executed."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.packets.add(getattr(func, "overloadpacket", func))
        return func(*args, **(kwargs or {}))


def _name(packet: Any) -> str:
    return str(getattr(packet, "_qualified_op_name", packet))


def _may_multiply(name: str) -> bool:
    library, _, operation = name.partition("::")
    return bool(_UNCOUNTED_LIBRARIES.search(name) or (library == "aten" and _PRODUCTS.search(operation)))


def _added() -> dict[Any, Callable[..., int]]:
    """Flops by operation, as functions of the arguments, with shapes in place of tensors."""
    aten, quantized = torch.ops.aten, torch.ops.quantized
    linear = [quantized.linear_dynamic, quantized.linear_relu_dynamic, quantized.linear_dynamic_fp16]
    return {
        aten.mv: _matrix_vector,
        aten.addmv: lambda _, matrix, *rest, **__: _matrix_vector(matrix),
        aten.dot: _matrix_vector,
        aten.vdot: _matrix_vector,
        aten._trilinear: _bilinear,
        **dict.fromkeys([*linear, quantized.linear, quantized.linear_relu], _quantised_linear),
    }


def _matrix_vector(matrix: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(matrix)


def _bilinear(_: Any, weight: Sequence[int], *__: Any, out_shape: Sequence[int], **___: Any) -> int:
    """weight: [1, outputs, inputs, other inputs] or without the 1, as `torch.bilinear` passes it."""
    return 2 * math.prod(out_shape) * weight[-2] * weight[-1]


def _quantised_linear(inputs: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * math.prod(out_shape) * inputs[-1]
