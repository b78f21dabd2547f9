"""Memory of a training step, predicted by arithmetic from the same list of layers as the cost."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from rescale.geometry import POINT, Block, Layer, geometry
from rescale.network import Network

FULL = 4  # bytes of a float32
INDEX = 8  # bytes of a position that a max-pool stores

Precision = Literal["fp32", "bf16", "fp16"]
Optimizer = Literal["sgd", "rmsprop", "adamw", "muon"]


class StepMemory(NamedTuple):
    """Memory of a training step in bytes, and its peak.

    weights: parameters and batch-norm statistics, including copies in half precision. gradients: one per
    parameter. optimizer: momentum, and the mean square: for Muon of batch norm's parameters, for RMSProp and
    AdamW of all. average: of the weights and statistics.
    activations: the tensors that autograd stores for the backward pass. peak: the largest total during the
    step, including gradients in flight and excluding the workspace of libraries.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    peak: int


class Saved(NamedTuple):
    """Tensors that a layer stores for the backward pass. maps: elements per image, in the step's precision.

    indices: elements per image, of 8 bytes. fixed: float32 elements that do not depend on the batch (mean and
    deviation of batch norm). flight: elements per image of the gradients in flight. params: of the layer.
    """

    maps: int
    indices: int = 0
    fixed: int = 0
    flight: int = 0
    params: int = 0


def step_memory(
    network: Network,
    batch: int,
    precision: Precision = "fp32",
    optimizer: Optimizer = "sgd",
    *,
    average: bool = True,
) -> StepMemory:
    """Predict the memory of a training step on `batch` images, in bytes."""
    width = FULL if precision == "fp32" else 2
    saved_tensors = list(saved_layers(network))
    params = sum(saved.params for saved in saved_tensors)
    # batch norm has as many parameters as running statistics and as batch statistics
    norms = sum(saved.fixed for saved in saved_tensors)
    state = (params + norms) * FULL
    weights = state + ((params - norms) * width if width < FULL else 0)
    squares = {"sgd": 0, "muon": norms, "rmsprop": params, "adamw": params}[optimizer]
    moments = (params + squares) * FULL
    sizes = [batch * (s.maps * width + s.indices * INDEX) + s.fixed * FULL for s in saved_tensors]
    activations = sum(sizes)
    peak = remaining = activations
    gradients = 0
    for saved, size in zip(reversed(saved_tensors), reversed(sizes), strict=True):
        gradients += saved.params * FULL
        peak = max(peak, remaining + gradients + batch * saved.flight * width)
        remaining -= size
    persistent = weights + moments + (state if average else 0)
    return StepMemory(
        weights,
        params * FULL,
        moments,
        state if average else 0,
        activations,
        persistent + max(peak, gradients),
    )


def saved_layers(network: Network) -> Iterator[Saved]:
    """The tensors that each layer stores for the backward pass, in the order of the forward pass.

    Convolutions and batch norms store their inputs. ReLU works in place and stores its output, which is the
    next layer's input; SiLU also stores its input. Additions store nothing, products both factors. Within a
    block and the stem, outputs of ReLU and products are computed again (`models/recomputing.py`).
    """
    shapes, silu = geometry(network), network.activation == "silu"
    first, same = shapes.stem[0], network.padding == "same"
    yield Saved(first.inputs)
    for layer in shapes.stem:
        # the last layer's output is the input of the blocks
        yield (
            _pool(layer)
            if layer.kind == "maxpool"
            else _conv(layer, silu, inner=layer is not shapes.stem[-1])
        )
        if same:
            yield Saved(_padding(layer, silu))
    for block in shapes.blocks:
        for _ in range(block.repeat):
            yield from _block(block, silu)
            if same:
                yield Saved(sum(_padding(layer, silu) for layer in block.layers.values()))
    *convs, linear = shapes.head
    yield from (_conv(layer, silu) for layer in convs)
    # the mean of the last map stores nothing, but ReLU stores the map
    last = convs[0] if convs else shapes.blocks[-1].last
    relu = not silu and (bool(convs) or shapes.blocks[-1].active)
    yield Saved(linear.inputs - (0 if relu else last.outputs), params=linear.params)


def _block(block: Block, silu: bool) -> Iterator[Saved]:
    parts = block.layers
    last = block.last
    for role, layer in parts.items():
        if role.startswith("conv"):
            yield _conv(layer, silu, inner=True)
        elif role == "se.reduce":
            yield _squeeze(parts, silu)
        elif role == "shortcut.pool":
            yield Saved(layer.outputs, flight=2 * layer.outputs)
        elif role == "shortcut.project":
            yield _conv(layer, silu)
    # the block's output is stored by the next layer and the activation; SiLU also stores the sum
    yield Saved(last.outputs * (2 if block.active and silu else 1), flight=2 * last.outputs)


def _conv(layer: Layer, silu: bool, *, inner: bool = False) -> Saved:
    """The convolution's output, stored by batch norm, and what the activation and the next layer store.

    inner: the output is needed only by the next layer of the same block.
    """
    outputs = layer.outputs
    times = 1 + (2 if silu else not inner) * layer.active
    fixed = 2 * layer.width_out if layer.norm else 0
    return Saved(times * outputs, fixed=fixed, flight=(2 + inner) * outputs, params=layer.params)


def _squeeze(parts: dict[str, Layer], silu: bool) -> Saved:
    """Mean, squeezed vector and weight; in flight the product, computed again, and its gradients."""
    reduce, expand = parts["se.reduce"], parts["se.expand"]
    roles = list(parts)
    before = parts[roles[roles.index("se.reduce") - 1]]
    small = reduce.inputs + reduce.outputs * (2 if silu else 1) + expand.outputs
    return Saved(small, flight=3 * before.outputs, params=reduce.params + expand.params)


def _padding(layer: Layer, silu: bool) -> int:
    """Elements added by the padded copy of the input of a strided convolution or pool (TensorFlow's `same`).

    The whole copy if ReLU stores the input as well, otherwise only the padding.
    """
    if layer.kind not in ("conv", "maxpool") or layer.stride == POINT:
        return 0
    return layer.padded_inputs - (layer.inputs if silu else 0)


def _pool(layer: Layer) -> Saved:
    return Saved(layer.outputs, indices=layer.outputs, flight=2 * layer.outputs)
