"""The amount of work in a step, summed over a network's layers by kind.

The time of a layer is modelled as a sum: multiply-adds at the rate of its kind of convolution, elements read
and written at the rate of the memory, and a kernel launch. The fit determines the rates.
"""

from rescale.geometry import POINT, POOLS, Block, Layer, geometry
from rescale.network import Network

LANES = 16  # channels that a vector or matrix unit processes at once

CONVOLUTIONS = ("stem", "pointwise", "dense", "grouped", "uneven", "depthwise")
"""stem: its input is the image, which needs no gradient. pointwise: 1x1. dense: larger kernels over all
channels. grouped: the group width is a multiple of LANES. uneven: other group widths, for which libraries
have slower kernels. depthwise: one channel per group."""

PER_IMAGE = (
    *(f"{kind} {what}" for kind in CONVOLUTIONS for what in ("macs", "moved")),
    "relu",
    "silu",
    "added",
    "squeezed",
    "pooled",
)
"""macs: multiply-adds. moved: elements of a convolution's input and output (batch norm reads the output
again). relu, silu: activated elements. added: elements of residual sums. squeezed: elements that
squeeze-and-excitation rescales. pooled: elements that spatial pooling reads and writes."""

PER_STEP = ("convolutions", "squeezes", "others", "weights", "step")
"""convolutions (with norm and activation), squeezes (squeeze-and-excitation), others (pooling, additions):
numbers of launches. weights: parameters of convolutions and linear layers, which are cast, updated and
averaged. step: 1."""

WORK = (*PER_IMAGE, *PER_STEP)
FIXED = len(PER_IMAGE)  # index of the first amount that does not grow with the batch

_STEM, _POINTWISE, _DENSE, _GROUPED, _UNEVEN, _DEPTHWISE = range(0, 12, 2)
_RELU, _SILU, _ADDED, _SQUEEZED, _POOLED = range(12, FIXED)
_CONVS, _SQUEEZES, _OTHERS, _WEIGHTS, _STEP = range(FIXED, len(WORK))


def work(network: Network) -> list[float]:
    """The amount of each kind of WORK: for one image before index FIXED, for one step from there on."""
    shapes, activation = geometry(network), _SILU if network.activation == "silu" else _RELU
    amounts = [0.0] * len(WORK)
    amounts[_STEP] = 1
    for layer in shapes.stem:
        _add(amounts, layer, 1, activation)
    for layer in shapes.head:
        _add(amounts, layer, 1, activation)
    for block in shapes.blocks:
        for layer in block.layers.values():
            _add(amounts, layer, block.repeat, activation)
        _end(amounts, block, activation)
    return amounts


def _add(amounts: list[float], layer: Layer, times: int, activation: int) -> None:
    """Add the work of a layer that occurs `times` times. activation: index of its activation in WORK."""
    if layer.kind in POOLS:
        amounts[_POOLED] += times * (layer.inputs + layer.outputs)
        amounts[_OTHERS] += times
        return
    fan_in = layer.fan_in
    amounts[_WEIGHTS] += times * layer.width_out * fan_in
    if not layer.norm:  # linear or squeeze-and-excitation: on one pixel, so its weights are all of its work
        return
    at, written = _kind(layer), times * layer.outputs
    amounts[at] += written * fan_in
    amounts[at + 1] += times * layer.inputs + written
    if layer.active:
        amounts[activation] += written
    amounts[_CONVS] += times


def _kind(layer: Layer) -> int:
    """Index in WORK of the multiply-adds of this kind of convolution."""
    if layer.groups > 1:
        if layer.depthwise:
            return _DEPTHWISE
        return _UNEVEN if layer.group_width % LANES else _GROUPED
    if layer.width_in <= 4:
        return _STEM
    return _POINTWISE if layer.kernel == POINT else _DENSE


def _end(amounts: list[float], block: Block, activation: int) -> None:
    """Add a block's work outside its convolutions: squeeze-and-excitation, residual sum, activation."""
    layers, times = block.layers, block.repeat
    out = block.last
    elements = times * out.outputs
    if block.skip != "none":
        amounts[_ADDED] += elements
        amounts[_OTHERS] += times
    if block.active:
        amounts[activation] += elements
    if "se.reduce" in layers:
        rescaled = layers["conv2"] if block.se_inner else out
        amounts[_SQUEEZED] += times * rescaled.outputs
        amounts[_SQUEEZES] += times
