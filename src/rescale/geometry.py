"""The one list of layers and shapes, which cost, build, pictures and predictions all read."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from rescale.network import Network, Stage

Kind = Literal["conv", "maxpool", "avgpool", "linear"]


class Layer(NamedTuple):
    """One layer: its path in the built module, its widths, and the sides of its square maps in pixels."""

    name: str
    kind: Kind
    width_in: int
    width_out: int
    kernel: int = 1
    stride: int = 1
    size_in: int = 1
    size_out: int = 1
    bias: bool = False
    norm: bool = False  # followed by batch norm


class Block(NamedTuple):
    """One residual bottleneck block: its layers by role; a role that a block lacks is absent.

    Roles: conv1 (1x1), conv2 (3x3), conv3 (1x1), se.reduce, se.expand, shortcut.pool, shortcut.project.
    """

    name: str
    stage: int
    layers: dict[str, Layer]


class Geometry(NamedTuple):
    """A network's layers in the order of the data, grouped as they are built."""

    stem: tuple[Layer, ...]
    blocks: tuple[Block, ...]
    head: Layer


def geometry(network: Network) -> Geometry:
    """Decide every layer's shape."""
    stem = tuple(_stem(network))
    width, size = stem[-1].width_out, stem[-1].size_out
    blocks = []
    for i, stage in enumerate(network.stages):
        for j in range(stage.depth):
            step = stage.stride if j == 0 else 1
            blocks.append(_block(f"stages.{i}.{j}", i, stage, width, size, step))
            width, size = stage.width, after(size, step)
    head = Layer("head.linear", "linear", width, network.head.classes, bias=True)
    return Geometry(stem, tuple(blocks), head)


def layers(network: Network) -> list[Layer]:
    """Every layer of the network, in the order of the data (a shortcut after the branch it bypasses)."""
    shapes = geometry(network)
    inner = (layer for block in shapes.blocks for layer in block.layers.values())
    return [*shapes.stem, *inner, shapes.head]


def after(size: int, stride: int) -> int:
    """Side of the output where an odd kernel is padded by its half; also of a pool that rounds up."""
    return (size - 1) // stride + 1


def _stem(network: Network) -> Iterator[Layer]:
    width, size = network.input.channels, network.resolution
    for i, conv in enumerate(network.stem.convs):
        out = after(size, conv.stride)
        yield Layer(
            f"stem.convs.{i}", "conv", width, conv.width, conv.kernel, conv.stride, size, out, norm=True
        )
        width, size = conv.width, out
    if network.stem.pool == "max":
        yield Layer("stem.pool", "maxpool", width, width, 3, 2, size, after(size, 2))


def _block(name: str, index: int, stage: Stage, width: int, size: int, stride: int) -> Block:
    out, inner = after(size, stride), int(stage.width * stage.bottleneck)
    first, second = (stride, 1) if stage.stride_at == "conv1" else (1, stride)
    middle = after(size, first)

    def conv(role: str, w_in: int, w_out: int, kernel: int, step: int, s_in: int, s_out: int) -> Layer:
        return Layer(f"{name}.{role}", "conv", w_in, w_out, kernel, step, s_in, s_out, norm=True)

    found = {
        "conv1": conv("conv1", width, inner, 1, first, size, middle),
        "conv2": conv("conv2", inner, inner, 3, second, middle, out),
        "conv3": conv("conv3", inner, stage.width, 1, 1, out, out),
    }
    if stage.se:
        squeezed = max(1, int(stage.width * stage.se))
        found["se.reduce"] = Layer(f"{name}.se.reduce", "conv", stage.width, squeezed, bias=True)
        found["se.expand"] = Layer(f"{name}.se.expand", "conv", squeezed, stage.width, bias=True)
    if stride > 1 or width != stage.width:
        if stage.shortcut == "pool" and stride > 1:
            found["shortcut.pool"] = Layer(
                f"{name}.shortcut.pool", "avgpool", width, width, stride, stride, size, out
            )
            found["shortcut.project"] = conv("shortcut.project", width, stage.width, 1, 1, out, out)
        else:
            found["shortcut.project"] = conv("shortcut.project", width, stage.width, 1, stride, size, out)
    return Block(name, index, found)
