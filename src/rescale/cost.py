"""The cost of a network, by arithmetic alone: multiply-adds, parameters and activations per image."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rescale.errors import first_few
from rescale.geometry import Block, Layer, geometry, layers
from rescale.network import Network


class Cost(NamedTuple):
    """Cost of one image.

    Convolutions, linear layers and spatial pools are counted. Batch norm adds parameters only. Activation
    functions, additions and global pooling add nothing.

    Args:
        macs: multiply-adds of convolutions and linear layers, plus one for each output with a bias. FLOPs, as
            the ResNet-RS papers print them, are 2 x macs.
        params: trainable parameters, including two per channel of batch norm.
        activations: elements of the outputs of convolutions, linear layers and spatial pools.

    Source:
        Fast and Accurate Model Scaling (Dollár et al., 2021), as its tables count.
    """

    macs: int
    params: int
    activations: int


class PartCost(NamedTuple):
    """A part of a network (stem, a stage, head): its description and its cost per image.

    depth: blocks of a stage; convolutions and linear layers of stem and head. width: output channels; classes
    for the head. inner_width, group_width: channels of the middle convolution, and of one of its groups, in
    the last block; None for stem, head and basic blocks. stride: of the whole part, including a pool.
    size_out: height and width of the square output map in pixels.
    """

    name: str
    depth: int
    width: int
    inner_width: int | None
    group_width: int | None
    stride: int
    size_out: int
    macs: int
    params: int
    activations: int


def cost(network: Network) -> Cost:
    """Compute the cost of one image, by arithmetic alone.

    Args:
        network: the network, at its own resolution; no module is built.

    Returns:
        The sum over all layers.

    Source:
        Fast and Accurate Model Scaling (Dollár et al., 2021), as its tables count.
    """
    shapes = geometry(network)
    return _total(
        (
            (1, shapes.stem),
            *((block.repeat, block.layers.values()) for block in shapes.blocks),
            (1, shapes.head),
        )
    )


def lower_bound(name: str, uncounted: Sequence[str]) -> str:
    """One line that says which operations of a model are missing in its multiply-adds."""
    return f"{name}: its multiply-adds are a lower bound, without {first_few(uncounted)}"


def by_part(network: Network) -> list[PartCost]:
    """The cost of each part: stem, `stage 1` and so on, head; they sum to `cost`."""
    shapes = geometry(network)
    parts = [_end("stem", shapes.stem)]
    for i, stage in enumerate(network.stages):
        blocks = [block for block in shapes.blocks if block.stage == i]
        parts.append(_stage(f"stage {i + 1}", stage.stride, blocks))
    return [*parts, _end("head", shapes.head)]


def _end(name: str, group: tuple[Layer, ...]) -> PartCost:
    """The cost of the stem or the head."""
    last, depth = group[-1], sum(layer.kind in ("conv", "linear") for layer in group)
    stride = math.prod(layer.stride.height for layer in group)
    total = _total([(1, group)])
    return PartCost(name, depth, last.width_out, None, None, stride, last.map_out.height, *total)


def _stage(name: str, stride: int, blocks: list[Block]) -> PartCost:
    last = blocks[-1].last
    inner = blocks[-1].layers["conv2"] if "conv3" in blocks[-1].layers else None
    total = _total((block.repeat, block.layers.values()) for block in blocks)
    return PartCost(
        name,
        sum(block.repeat for block in blocks),
        last.width_out,
        inner and inner.width_out,
        inner and inner.group_width,
        stride,
        last.map_out.height,
        *total,
    )


def _total(groups: Iterable[tuple[int, Iterable[Layer]]]) -> Cost:
    """The total cost of groups of layers, each repeated a number of times."""
    macs = params = activations = 0
    for times, group in groups:
        for layer in group:
            counts = layer.counts()
            macs += times * counts[0]
            params += times * counts[1]
            activations += times * counts[2]
    return Cost(macs, params, activations)


def printed_flops(network: Network) -> int:
    """FLOPs as the ResNet-RS papers print them: 2 x multiply-adds, plus one per element of batch norm.

    With the second term all eleven rows of the Pareto table round to the printed value. Without it ten do:
    ResNet-RS-152 at 192 pixels has 17.494, and 18 is printed.
    """
    norm_elements = sum(layer.outputs for layer in layers(network) if layer.norm)
    return 2 * cost(network).macs + norm_elements
