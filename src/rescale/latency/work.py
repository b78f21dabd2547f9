"""What a step does, in amounts that take time: a network's layers, summed up by kind of work.

A layer's time is taken as a sum: multiply-adds at the rate of its kind of convolution, elements read and
written at the rate of the memory, and a launch. The fit finds the rates.
"""

from rescale.geometry import Block, Layer, geometry
from rescale.network import Network

LANES = 16  # channels that a vector or matrix unit takes at once

CONVOLUTIONS = ("stem", "pointwise", "dense", "grouped", "uneven", "depthwise")
"""stem: of an image, which gets no gradient. pointwise: 1x1. dense: larger, over all channels. grouped: over
groups of a multiple of LANES channels; uneven: over groups of other widths, which libraries have slower ways
for; depthwise: over each channel by itself."""

PER_IMAGE = (
    *(f"{kind} {what}" for kind in CONVOLUTIONS for what in ("macs", "moved")),
    "relu",
    "silu",
    "added",
    "squeezed",
    "pooled",
)
"""macs: multiply-adds; moved: elements of a convolution's input and output (batch norm passes over the output
again). relu, silu, added: elements that are activated or summed. squeezed: elements of maps that
squeeze-and-excitation weighs. pooled: elements that spatial pools read and write."""

PER_STEP = ("convolutions", "squeezes", "others", "weights", "step")
"""How often something is launched: convolutions with their norm and activation, squeeze-and-excitation,
pools and additions. weights: numbers of convolutions and linear layers, which are cast, updated and averaged.
step: 1."""

WORK = (*PER_IMAGE, *PER_STEP)
FIXED = len(PER_IMAGE)  # where the amounts begin that do not grow with the batch

_STEM, _POINTWISE, _DENSE, _GROUPED, _UNEVEN, _DEPTHWISE = range(0, 12, 2)
_RELU, _SILU, _ADDED, _SQUEEZED, _POOLED = range(12, FIXED)
_CONVS, _SQUEEZES, _OTHERS, _WEIGHTS, _STEP = range(FIXED, len(WORK))


def work(network: Network) -> list[float]:
    """The amount of each kind of WORK: of one image, and behind FIXED of one step."""
    shapes, active = geometry(network), _SILU if network.activation == "silu" else _RELU
    found = [0.0] * len(WORK)
    found[_STEP] = 1
    for layer in shapes.stem:
        _add(found, layer, 1, active)
    for layer in shapes.head:
        _add(found, layer, 1, active)
    for block in shapes.blocks:
        for layer in block.layers.values():
            _add(found, layer, block.repeat, active)
        _end(found, block, active if network.stages[block.stage].block == "bottleneck" else None)
    return found


def _add(found: list[float], layer: Layer, times: int, active: int) -> None:
    """Add the work of a layer that occurs so many times."""
    _, kind, width_in, width_out, kernel, _, size_in, size_out, groups, _, norm, activated = layer
    read, written = times * width_in * size_in * size_in, times * width_out * size_out * size_out
    if kind in ("maxpool", "avgpool"):
        found[_POOLED] += read + written
        found[_OTHERS] += times
        return
    each = width_in // groups
    weights = times * each * width_out * kernel * kernel
    found[_WEIGHTS] += weights
    if not norm:  # linear, or of squeeze-and-excitation: a map of one pixel, all of whose work is its weights
        return
    at = _kind(width_in, kernel, groups)
    found[at] += weights * size_out * size_out
    found[at + 1] += read + written
    if activated:
        found[active] += written
    found[_CONVS] += times


def _kind(width_in: int, kernel: int, groups: int) -> int:
    """Where the amounts of this kind of convolution begin."""
    if groups > 1:
        if groups == width_in:
            return _DEPTHWISE
        return _UNEVEN if width_in // groups % LANES else _GROUPED
    if width_in <= 4:
        return _STEM
    return _POINTWISE if kernel == 1 else _DENSE


def _end(found: list[float], block: Block, active: int | None) -> None:
    """Add what happens in a block outside its convolutions: squeeze-and-excitation, addition, activation."""
    layers, times = block.layers, block.repeat
    out = layers["conv3"]
    elements = times * out.width_out * out.size_out * out.size_out
    if block.skip != "none":
        found[_ADDED] += elements
        found[_OTHERS] += times
    if active is not None:
        found[active] += elements
    if squeeze := layers.get("se.reduce"):  # the map behind conv2 is as large as that behind conv3
        found[_SQUEEZED] += times * squeeze.width_in * out.size_out * out.size_out
        found[_SQUEEZES] += times
