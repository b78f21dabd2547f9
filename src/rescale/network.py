"""The description of a network as a value, without torch; conversion to and from YAML."""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from rescale.errors import UserError, validation_lines
from rescale.yaml_input import Dumper, read_yaml

Activation = Literal["relu", "silu"]
Padding = Literal["symmetric", "same"]
Pool = Literal["max", "none"]
BlockKind = Literal["bottleneck", "inverted", "basic"]
Side = Literal["input", "output"]
SEAt = Literal["inner", "output"]
Shortcut = Literal["conv", "pool"]
StrideAt = Literal["conv1", "conv2"]
Init = Literal["auto", "resnet-rs", "fast-scaling", "efficientnet"]

# read by pydantic when a file is checked; needs no import
_STRICT = {"extra": "forbid", "allow_inf_nan": False}
_NOT_IN_IDENTITY = ("name", "scale_ends", "init")

MOST_DEPTH, MOST_WIDTH, MOST_SIDE = 10_000, 1 << 20, 1 << 16
"""The largest networks that are accepted: blocks of a stage; channels of a layer and classes; pixels along a
side of the input, of a kernel and of a stride. No machine can train larger ones."""

LATER = {"later": True}
"""Metadata of a field that the first version did not have. Files and identities omit the field if it has its
default, so that a new field changes no stored identity."""


@dataclass(frozen=True)
class Input:
    """The input images: square, `resolution` pixels per side."""

    __pydantic_config__: ClassVar = _STRICT

    resolution: int = 224
    channels: int = 3


@dataclass(frozen=True)
class Conv:
    """A square convolution of the stem, followed by batch norm and the activation."""

    __pydantic_config__: ClassVar = _STRICT

    width: int
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True)
class Stem:
    """Convolutions in order, then a 3x3 max-pool of stride 2 or nothing."""

    __pydantic_config__: ClassVar = _STRICT

    convs: tuple[Conv, ...]
    pool: Pool = "none"


@dataclass(frozen=True)
class Stage:
    """`depth` blocks of one width; the first one has the stride.

    block: `bottleneck` (ResNet, ResNeXt, RegNetX and Y) has a projection shortcut if width or stride
    change, and an activation after the addition. `inverted` (EfficientNet, RegNetZ) has no activation at the
    end, and a shortcut only if width and stride do not change. Both consist of 1x1, kernel x kernel and 1x1
    convolutions; an inverted block of ratio 1 has no first 1x1. `basic` (ResNet-18 and 34) ends like a
    bottleneck and consists of two kernel x kernel convolutions, the first of which has the stride. It has
    neither an inner width nor groups: bottleneck is 1, inner_of output, stride_at conv1, group_width None.
    width: output channels of each block. bottleneck: inner width / width of the block's output, or of
    its input (inner_of). group_width: channels per group of the middle convolution: 1 for depthwise,
    None for a single group.
    se: width of squeeze-and-excitation / base width, 0 for none. se_at: after the last convolution, with
    the output width as the base (ResNet-RS), or after the middle one, with the width of the block's input as
    the base (RegNet, EfficientNet).
    shortcut: how a projection applies the stride: by a strided 1x1 convolution, or by average pooling before
    it (ResNet-D). stride_at: the convolution that has the stride: the first 1x1 (ResNet, 2015) or the
    middle one (later networks).
    """

    __pydantic_config__: ClassVar = _STRICT

    depth: int
    width: int
    stride: int = 2
    kernel: int = 3
    block: BlockKind = "bottleneck"
    bottleneck: float = 0.25
    inner_of: Side = "output"
    group_width: int | None = None
    se: float = 0.0
    se_at: SEAt = "output"
    shortcut: Shortcut = "conv"
    stride_at: StrideAt = "conv2"

    def inner(self, width_in: int) -> int:
        """Width of the middle convolution in a block with `width_in` input channels."""
        return int((width_in if self.inner_of == "input" else self.width) * self.bottleneck)


_BASIC = {"bottleneck": 1, "inner_of": "output", "group_width": None, "stride_at": "conv1"}
"""Fields of which a basic block has no choice: it has no inner width and no groups."""


@dataclass(frozen=True)
class Head:
    """A 1x1 convolution if `width` (its channels) is not 0, global average pooling, dropout, a linear layer.

    The dropout rate is part of the recipe.
    """

    __pydantic_config__: ClassVar = _STRICT

    classes: int = 1000
    width: int = 0


@dataclass(frozen=True)
class Network:
    """A vision network as a value: its structure, without weights.

    The constructor checks nothing; `rescale.network` checks what it reads. Networks with the same `identity`
    have the same structure, whatever their names.

    Args:
        name: used in tables and messages; not part of the identity.
        input: resolution (pixels per side) and channels of the square images.
        stem: the convolutions before the first stage, and an optional max-pool.
        stages: at least one, in order.
        head: the layers after the last stage, and the number of classes.
        activation: of blocks, stem and head; `relu` or `silu`.
        padding: of strided convolutions and pools; `symmetric` is half the kernel on every side, `same` is
            TensorFlow's.
        norm_eps: added to the variance by batch norm, above 0; weights are valid for the value they were
            trained with.
        scale_ends: whether stem and head are widened when the network is scaled (EfficientNet).
        init: initialisation of the weights, as in the authors' code of `resnet-rs`, `fast-scaling` or
            `efficientnet`. `auto` is `resnet-rs` for ResNets and `fast-scaling` for all others.
    """

    __pydantic_config__: ClassVar = _STRICT

    name: str
    input: Input
    stem: Stem
    stages: tuple[Stage, ...]
    head: Head = field(default_factory=Head)
    activation: Activation = "relu"
    padding: Padding = "symmetric"
    norm_eps: float = 1e-5
    scale_ends: bool = False
    init: Init = field(default="auto", metadata=LATER)

    @property
    def resolution(self) -> int:
        """Pixels per side."""
        return self.input.resolution

    def at(self, resolution: int) -> "Network":
        """The same network for another input size."""
        base = re.sub(r"@\d+$", "", self.name)
        return replace(self, name=f"{base}@{resolution}", input=replace(self.input, resolution=resolution))

    def with_classes(self, classes: int) -> "Network":
        """The same network with a head of `classes` outputs."""
        return replace(self, head=replace(self.head, classes=classes))

    @property
    def identity(self) -> str:
        """Hash of the structure, without name, `scale_ends` and initialisation."""
        structure = {key: value for key, value in as_mapping(self).items() if key not in _NOT_IN_IDENTITY}
        return hashlib.sha256(json.dumps(structure, sort_keys=True).encode()).hexdigest()[:16]


def is_resnet(network: Network) -> bool:
    """Whether all blocks are of one of ResNet's two kinds, with 3x3 convolutions without groups.

    The bottlenecks' inner width is a quarter.
    """
    kinds = {stage.block for stage in network.stages}
    return len(kinds) == 1 and all(
        stage.kernel == 3
        and stage.bottleneck == {"bottleneck": 0.25, "basic": 1}.get(stage.block)
        and stage.inner_of == "output"
        and stage.group_width is None
        for stage in network.stages
    )


def as_mapping(value: Any) -> Any:
    """A network or a part of it as mappings, lists and scalars; `LATER` says what is omitted."""
    if is_dataclass(value):
        contents = ((item, getattr(value, item.name)) for item in fields(value))
        return {
            item.name: as_mapping(content)
            for item, content in contents
            if not ("later" in item.metadata and content == item.default)
        }
    return [as_mapping(item) for item in value] if isinstance(value, tuple) else value


def to_yaml(network: Network) -> str:
    """The network as YAML text, which `from_mapping(yaml.safe_load(text))` converts back."""
    return yaml.dump(as_mapping(network), Dumper=Dumper, sort_keys=False, default_flow_style=None, width=110)


def from_file(path: Path) -> Network:
    """Read a network file. Errors name the file, the position and the closest valid key."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: a network file holds name, input, stem, stages and head; not a {type(content).__name__}"
        )
    return from_mapping(content, where=str(path))


def from_mapping(mapping: dict[str, Any], where: str = "network") -> Network:
    """Create a network from a mapping. Reports all wrong keys, types and ranges at once."""
    from pydantic import TypeAdapter, ValidationError

    try:
        network = TypeAdapter(Network).validate_json(json.dumps(mapping, default=str), strict=True)
    except ValidationError as error:
        raise UserError(*validation_lines(error, where, _known_keys)) from None
    return checked(network, where)


def _known_keys(place: tuple[str | int, ...]) -> list[str]:
    """The valid keys at a position in a network file."""
    parts = {"input": Input, "stem": Stem, "convs": Conv, "stages": Stage, "head": Head}
    names = [step for step in place if isinstance(step, str)]
    return [item.name for item in fields(parts[names[-1]] if names else Network)]


def checked(network: Network, where: str) -> Network:
    """The network if it can be built. Otherwise raises UserError with one line per mistake."""
    if mistakes := problems(network):
        raise UserError(*(f"{where}: {line}" for line in mistakes))
    return network


def problems(network: Network) -> list[str]:
    """The mistakes in the values of a network, one line each; empty if it can be built."""
    mistakes = oversized(network)[:1]
    if mistakes:
        return mistakes
    if not network.stages:
        mistakes.append("a network has at least one stage")
    if not network.stem.convs:
        mistakes.append("a stem has at least one convolution")
    if network.input.channels < 1:
        mistakes.append(f"input.channels {network.input.channels}: at least 1")
    if network.head.classes < 1:
        mistakes.append(f"head.classes {network.head.classes}: at least 1")
    for i, conv in enumerate(network.stem.convs):
        if min(conv.width, conv.stride) < 1 or conv.kernel < 1 or conv.kernel % 2 == 0:
            mistakes.append(
                f"stem.convs[{i}]: width and stride are at least 1, kernel is odd; found width {conv.width}, "
                f"stride {conv.stride}, kernel {conv.kernel}"
            )
    if network.head.width < 0:
        mistakes.append(f"head.width {network.head.width}: 0 for none, or at least 1")
    if not 0 < network.norm_eps < math.inf:
        mistakes.append(f"norm_eps {network.norm_eps}: a number above 0")
    width = network.stem.convs[-1].width if network.stem.convs else 0
    for i, stage in enumerate(network.stages):
        mistakes += [f"stages[{i}]{line}" for line in _stage_problems(stage, width)]
        width = stage.width
    if not mistakes and network.resolution < (smallest := stride(network)):
        mistakes.append(
            f"resolution {network.resolution} is too small for strides that divide it by {smallest}; "
            f"use at least {smallest}, or a stem of smaller stride"
        )
    return mistakes


def oversized(network: Network) -> list[str]:
    """The sizes of a network that exceed the limits, one line each."""
    sizes = [
        ("resolution", network.resolution, MOST_SIDE),
        ("input.channels", network.input.channels, MOST_WIDTH),
        ("head.width", network.head.width, MOST_WIDTH),
        ("head.classes", network.head.classes, MOST_WIDTH),
    ]
    for i, conv in enumerate(network.stem.convs):
        sizes.append((f"stem.convs[{i}].width", conv.width, MOST_WIDTH))
        sizes.append((f"stem.convs[{i}]: kernel or stride", max(conv.kernel, conv.stride), MOST_SIDE))
    for i, stage in enumerate(network.stages):
        sizes.append((f"stages[{i}].depth", stage.depth, MOST_DEPTH))
        sizes.append((f"stages[{i}].width", stage.width, MOST_WIDTH))
        sizes.append((f"stages[{i}]: kernel or stride", max(stage.kernel, stage.stride), MOST_SIDE))
    return [f"{name} {size:,}: at most {most:,}" for name, size, most in sizes if size > most]


def _stage_problems(stage: Stage, width_in: int) -> list[str]:
    if min(stage.depth, stage.width, stage.stride) < 1 or stage.kernel < 1 or stage.kernel % 2 == 0:
        return [
            f": depth, width and stride are at least 1, kernel is odd; found depth {stage.depth}, "
            f"width {stage.width}, stride {stage.stride}, kernel {stage.kernel}"
        ]
    if not 0 < stage.bottleneck * max(width_in, stage.width) <= MOST_WIDTH:
        return [f".bottleneck {stage.bottleneck}: a number above 0, for at most {MOST_WIDTH:,} channels"]
    mistakes = []
    # the first block may have another input width than the others
    for inner in {stage.inner(width_in), stage.inner(stage.width)}:
        if inner < 1:
            mistakes.append(f": width {stage.width} x bottleneck {stage.bottleneck} leaves no channel")
        elif stage.group_width is not None and (stage.group_width < 1 or inner % stage.group_width):
            mistakes.append(f": group_width {stage.group_width} does not divide the inner width {inner}")
    if not 0 <= stage.se <= 1:
        mistakes.append(f".se {stage.se}: between 0 and 1")
    if stage.block == "basic":
        mistakes += [
            f".{name} {getattr(stage, name)}: a basic block has {name}: {value}"
            for name, value in _BASIC.items()
            if getattr(stage, name) != value
        ]
        if stage.se and stage.se_at != "output":
            mistakes.append(f".se_at {stage.se_at}: a basic block has it at the output")
    return mistakes


def stride(network: Network) -> int:
    """The product of all strides: input pixels per pixel of the last feature map, along a side."""
    total = 2 if network.stem.pool == "max" else 1
    strides = [conv.stride for conv in network.stem.convs] + [stage.stride for stage in network.stages]
    return total * math.prod(strides)
