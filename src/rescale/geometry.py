"""The list of layers and shapes of a network, shared by cost, build, pictures and predictions."""

from collections.abc import Iterator
from functools import cache
from typing import Literal, NamedTuple

from rescale.network import Init, Network, Stage, is_resnet

Kind = Literal["conv", "maxpool", "avgpool", "linear"]
Skip = Literal["identity", "project", "none"]


class Grid(NamedTuple):
    """The size of a map, kernel or stride: frames, height and width. An image has one frame."""

    frames: int
    height: int
    width: int

    @property
    def points(self) -> int:
        """Number of positions."""
        return self.frames * self.height * self.width

    def padded(self, kernel: "Grid", stride: "Grid") -> "Grid":
        """The map including TensorFlow's `same` padding; see `same_padding`."""
        sides = zip(self, kernel, stride, strict=True)
        return Grid(*(side + same_padding(side, taps, step) for side, taps, step in sides))


POINT = Grid(1, 1, 1)
POOLS = ("maxpool", "avgpool")


@cache
def square(side: int) -> Grid:
    """One square frame."""
    return Grid(1, side, side)


@cache
def strided(size: Grid, stride: Grid) -> Grid:
    """The map after a layer with this stride.

    Valid for odd kernels padded by half their size or like TensorFlow's `same`, and for pools that round up.
    Cached, because a network has few different maps.
    """
    return Grid(*map(strided_side, size, stride))


def strided_side(side: int, stride: int) -> int:
    """Output size along one dimension."""
    return (side - 1) // stride + 1


def same_padding(side: int, kernel: int, stride: int) -> int:
    """The padding that TensorFlow's `same` adds to a side, both ends together."""
    return max((strided_side(side, stride) - 1) * stride + kernel - side, 0)


class Layer(NamedTuple):
    """A layer: its path in its part of the network, its widths, and its input and output maps."""

    name: str
    kind: Kind
    width_in: int
    width_out: int
    kernel: Grid = POINT
    stride: Grid = POINT
    map_in: Grid = POINT
    map_out: Grid = POINT
    groups: int = 1
    bias: bool = False
    norm: bool = False  # followed by batch norm
    active: bool = False  # followed by the activation

    @property
    def inputs(self) -> int:
        """Input elements per image."""
        return self.width_in * self.map_in.points

    @property
    def padded_inputs(self) -> int:
        """Input elements per image including TensorFlow's padding."""
        return self.width_in * self.map_in.padded(self.kernel, self.stride).points

    @property
    def outputs(self) -> int:
        """Output elements per image."""
        return self.width_out * self.map_out.points

    @property
    def group_width(self) -> int:
        """Input channels per group."""
        return self.width_in // self.groups

    @property
    def depthwise(self) -> bool:
        """Whether this is a depthwise convolution, with one group per channel."""
        return 1 < self.groups == self.width_in

    @property
    def fan_in(self) -> int:
        """Weights of one output channel; 0 for a pool."""
        return 0 if self.kind in POOLS else self.width_in // self.groups * self.kernel.points

    @property
    def fan_out(self) -> int:
        """Weights of one input channel; 0 for a pool."""
        return 0 if self.kind in POOLS else self.width_out // self.groups * self.kernel.points

    @property
    def full_fan_out(self) -> int:
        """Weights that one input channel would have without groups; 0 for a pool."""
        return 0 if self.kind in POOLS else self.width_out * self.kernel.points

    @property
    def weights(self) -> int:
        """Number of weights, without bias and batch norm."""
        return self.width_out * self.fan_in

    @property
    def params(self) -> int:
        """Number of parameters: weights, biases, and two per channel of batch norm."""
        return self.counts()[1]

    @property
    def macs(self) -> int:
        """Multiply-adds per image; a bias adds one per output."""
        return self.counts()[0]

    def counts(self) -> tuple[int, int, int]:
        """macs, params and outputs in one call, because a search computes them for 100,000 networks."""
        outputs, terms = self.outputs, self.fan_in + self.bias
        return outputs * terms, self.width_out * (terms + 2 * self.norm), outputs


class Block(NamedTuple):
    """`repeat` consecutive blocks of equal shape; the first is number `first` of its stage.

    layers: by role, for the roles that the block has: conv1 (1x1), conv2 (kernel x kernel), conv3 (1x1), in a
    basic block conv1 and conv2 (both kernel x kernel); se.reduce, se.expand, shortcut.pool, shortcut.project.
    skip: what is added to the branch: the input, its projection or nothing. active: whether the activation
    follows the addition. se_inner: whether squeeze-and-excitation follows conv2 instead of conv3. zero_norm:
    whether the weight of the last batch norm is initialised to 0, so that the block initially equals its
    shortcut.
    """

    stage: int
    first: int
    repeat: int
    layers: dict[str, Layer]
    skip: Skip
    active: bool
    se_inner: bool
    zero_norm: bool

    @property
    def last(self) -> Layer:
        """The last convolution of the branch, whose output is added to the shortcut."""
        return self.layers["conv3" if "conv3" in self.layers else "conv2"]

    def names(self) -> list[str]:
        """Paths of these blocks in the built module."""
        return [f"stages.{self.stage}.{self.first + i}" for i in range(self.repeat)]


class Geometry(NamedTuple):
    """A network's layers by part, in the order of the forward pass. init: initialisation of the weights."""

    stem: tuple[Layer, ...]
    blocks: tuple[Block, ...]
    head: tuple[Layer, ...]
    init: Init


def geometry(network: Network) -> Geometry:
    """Compute the shape of every layer."""
    init, stem = initialisation(network), tuple(_stem(network))
    width, size = stem[-1].width_out, stem[-1].map_out
    blocks: list[Block] = []
    for i, stage in enumerate(network.stages):
        blocks += _stage(i, stage, width, size, init)
        width, size = stage.width, blocks[-1].last.map_out
    return Geometry(stem, tuple(blocks), tuple(_head(network, width, size)), init)


def layers(network: Network) -> list[Layer]:
    """Every layer of the network by its path in the built module, in the order of the forward pass.

    A shortcut comes after the branch it bypasses.
    """
    shapes = geometry(network)
    block_layers = [
        layer._replace(name=f"{name}.{layer.name}")
        for block in shapes.blocks
        for name in block.names()
        for layer in block.layers.values()
    ]
    return [*shapes.stem, *block_layers, *shapes.head]


def initialisation(network: Network) -> Init:
    """The initialisation of the network's weights.

    If the network does not specify it, ResNets use that of ResNet-RS, others that of Fast and Accurate Model
    Scaling.
    """
    if network.init != "auto":
        return network.init
    return "resnet-rs" if is_resnet(network) else "fast-scaling"


def _stem(network: Network) -> Iterator[Layer]:
    width, size = network.input.channels, square(network.resolution)
    for i, conv in enumerate(network.stem.convs):
        stride = square(conv.stride)
        after = strided(size, stride)
        yield Layer(
            f"stem.convs.{i}", "conv", width, conv.width, square(conv.kernel), stride, size, after,
            norm=True, active=True,
        )  # fmt: skip
        width, size = conv.width, after
    if network.stem.pool == "max":
        stride = square(2)
        yield Layer("stem.pool", "maxpool", width, width, square(3), stride, size, strided(size, stride))


def _stage(number: int, stage: Stage, width: int, size: Grid, init: Init) -> Iterator[Block]:
    """The blocks of a stage whose input has `width` channels on a map of this size."""
    # the blocks after the first one are equal; the first may differ in stride and input width
    all_equal = stage.stride == 1 and width == stage.width
    active, se_inner, zero_init = stage.block != "inverted", stage.se_at == "inner", init == "resnet-rs"
    layers, skip = _block(stage, width, size, stage.stride)
    repeat = stage.depth if all_equal else 1
    block = Block(number, 0, repeat, layers, skip, active, se_inner, zero_init and skip != "none")
    yield block
    if repeat < stage.depth:
        layers, skip = _block(stage, stage.width, block.last.map_out, 1)
        yield Block(number, 1, stage.depth - 1, layers, skip, active, se_inner, zero_init and skip != "none")


def _block(stage: Stage, width: int, size: Grid, stride: int) -> tuple[dict[str, Layer], Skip]:
    """The layers of a block by role, and the kind of its shortcut."""
    step = square(stride)
    out = size if stride == 1 else strided(size, step)
    branch = _basic_branch if stage.block == "basic" else _branch
    roles = branch(stage, width, size, out, step)
    if stage.se and stage.se_at == "output":
        roles |= _squeeze(stage.width, max(1, int(stage.se * stage.width)))
    if stride == 1 and width == stage.width:
        return roles, "identity"
    if stage.block == "inverted":
        return roles, "none"
    if stage.shortcut == "pool" and stride > 1:
        roles["shortcut.pool"] = Layer("shortcut.pool", "avgpool", width, width, step, step, size, out)
        step, size = POINT, out
    roles["shortcut.project"] = _conv("shortcut.project", width, stage.width, POINT, step, size, out)
    return roles, "project"


def _basic_branch(stage: Stage, width: int, size: Grid, out: Grid, step: Grid) -> dict[str, Layer]:
    """The two convolutions of a basic block, the first of which has the stride."""
    kernel = square(stage.kernel)
    return {
        "conv1": _conv("conv1", width, stage.width, kernel, step, size, out, active=True),
        "conv2": _conv("conv2", stage.width, stage.width, kernel, POINT, out, out),
    }


def _branch(stage: Stage, width: int, size: Grid, out: Grid, step: Grid) -> dict[str, Layer]:
    """The convolutions of a bottleneck or inverted block, with squeeze-and-excitation inside."""
    inner = stage.inner(width)
    stride1, stride2, middle = (step, POINT, out) if stage.stride_at == "conv1" else (POINT, step, size)
    roles = {}
    if stage.block == "bottleneck" or stage.bottleneck != 1 or stage.inner_of != "input":
        roles["conv1"] = _conv("conv1", width, inner, POINT, stride1, size, middle, active=True)
    else:
        middle, stride2 = size, step
    # the search for a budget also measures networks whose groups are wider than their inner width
    groups = max(1, inner // max(1, stage.group_width or inner))
    kernel = square(stage.kernel)
    roles["conv2"] = _conv("conv2", inner, inner, kernel, stride2, middle, out, groups, active=True)
    if stage.se and stage.se_at == "inner":
        roles |= _squeeze(inner, max(1, round(stage.se * width)))
    roles["conv3"] = _conv("conv3", inner, stage.width, POINT, POINT, out, out)
    return roles


def _conv(
    name: str,
    width_in: int,
    width_out: int,
    kernel: Grid,
    stride: Grid,
    map_in: Grid,
    map_out: Grid,
    groups: int = 1,
    active: bool = False,
) -> Layer:
    """A convolution with batch norm and without bias."""
    return Layer(
        name, "conv", width_in, width_out, kernel, stride, map_in, map_out, groups, False, True, active
    )


def _squeeze(width: int, squeezed: int) -> dict[str, Layer]:
    """Squeeze-and-excitation: two 1x1 convolutions with biases on a map of one pixel."""
    return {
        "se.reduce": Layer("se.reduce", "conv", width, squeezed, bias=True),
        "se.expand": Layer("se.expand", "conv", squeezed, width, bias=True),
    }


def _head(network: Network, width: int, size: Grid) -> Iterator[Layer]:
    if conv_width := network.head.width:
        yield Layer("head.conv", "conv", width, conv_width, map_in=size, map_out=size, norm=True, active=True)
    yield Layer("head.linear", "linear", conv_width or width, network.head.classes, bias=True)
