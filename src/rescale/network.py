"""A network as a value: what it is, without torch and without a module; YAML in and out."""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from rescale.errors import UserError, validation_lines

Activation = Literal["relu", "silu"]
Padding = Literal["symmetric", "same"]
Pool = Literal["max", "none"]
BlockKind = Literal["bottleneck", "inverted"]
Side = Literal["input", "output"]
SEAt = Literal["inner", "output"]
Shortcut = Literal["conv", "pool"]
StrideAt = Literal["conv1", "conv2"]

_STRICT = {"extra": "forbid"}  # what pydantic reads when a file is checked; nothing is imported for it


@dataclass(frozen=True)
class Input:
    """The images a network takes: square, `resolution` pixels a side."""

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
    """`depth` blocks of one width; the first one carries the stride.

    block: a residual `bottleneck` (ResNet, ResNeXt, RegNetX and Y), whose shortcut is projected where
    width or stride change and whose sum is activated; or an `inverted` one (EfficientNet, RegNetZ), which
    ends without activation and adds its input only where nothing changes. Both are 1x1, kernel x kernel,
    1x1; an inverted block whose inner width is its input's (ratio 1) has no first 1x1.
    width: channels that leave each block. bottleneck: inner width / width of the block's output, or of
    its input (inner_of). group_width: channels a group of the middle convolution, 1 for depthwise,
    None for all of them (a full convolution).
    se: width of squeeze-and-excitation / width, 0 for none. se_at: behind the last convolution, with
    the output's width as its base (ResNet-RS), or behind the middle one, with the block's input as its
    base (RegNet, EfficientNet).
    shortcut: how a projection meets a stride, by a strided 1x1 convolution or by average pooling before
    it (ResNet-D). stride_at: the convolution that carries the stride, the first 1x1 (ResNet, 2015) or the
    middle one (everyone since).
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
        """Width of the middle convolution in a block that is given `width_in` channels."""
        return int((width_in if self.inner_of == "input" else self.width) * self.bottleneck)


@dataclass(frozen=True)
class Head:
    """A 1x1 convolution of `width` channels if that is not 0, global average pooling, dropout (a rate of
    the recipe's), one linear layer."""

    __pydantic_config__: ClassVar = _STRICT

    classes: int = 1000
    width: int = 0


@dataclass(frozen=True)
class Network:
    """A vision network. Two networks of equal structure are the same network, whatever their names.

    activation: of every block, stem and head. padding: of strided convolutions and pools, half the kernel
    on every side, or TensorFlow's `same`. norm_eps: what batch norm adds to the variance; weights
    belong to one value of it. scale_ends: whether stem and head grow with the width when the network
    is scaled (EfficientNet) or stay as they are.
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

    @property
    def resolution(self) -> int:
        """Pixels a side."""
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
        """Hash of the structure; the name and how it would be scaled are left out."""
        structure = asdict(self)
        del structure["name"], structure["scale_ends"]
        return hashlib.sha256(json.dumps(structure, sort_keys=True).encode()).hexdigest()[:16]


def to_yaml(network: Network) -> str:
    """The network as YAML text that `from_mapping(yaml.safe_load(text))` reads back equal."""
    plain = json.loads(json.dumps(asdict(network)))
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=110)


def from_file(path: Path) -> Network:
    """Read a network file. Errors name the file, the place and the nearest right key."""
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise UserError(
            f"{path}: a network file holds name, input, stem, stages and head; not a {type(found).__name__}"
        )
    return from_mapping(found, where=str(path))


def from_mapping(found: dict[str, Any], where: str = "network") -> Network:
    """Make a network of a mapping (a YAML file's), reporting every wrong key, type and range at once."""
    from pydantic import TypeAdapter, ValidationError

    try:
        network = TypeAdapter(Network).validate_json(json.dumps(found, default=str), strict=True)
    except ValidationError as error:
        raise UserError(*validation_lines(error, where, _known_keys)) from None
    return checked(network, where)


def _known_keys(place: tuple[str | int, ...]) -> list[str]:
    """The keys that exist at a place in a network file."""
    parts = {"input": Input, "stem": Stem, "convs": Conv, "stages": Stage, "head": Head}
    names = [step for step in place if isinstance(step, str)]
    return [item.name for item in fields(parts[names[-1]] if names else Network)]


def checked(network: Network, where: str) -> Network:
    """The network, if it can be built; else UserError with a line for each thing that is wrong."""
    if wrong := problems(network):
        raise UserError(*(f"{where}: {line}" for line in wrong))
    return network


def problems(network: Network) -> list[str]:
    """What is wrong with the values of a network, one line each; empty when it can be built."""
    found = []
    if not network.stages:
        found.append("a network has at least one stage")
    if not network.stem.convs:
        found.append("a stem has at least one convolution")
    if network.input.channels < 1:
        found.append(f"input.channels {network.input.channels}: at least 1")
    if network.head.classes < 1:
        found.append(f"head.classes {network.head.classes}: at least 1")
    for i, conv in enumerate(network.stem.convs):
        if min(conv.width, conv.stride) < 1 or conv.kernel < 1 or conv.kernel % 2 == 0:
            found.append(f"stem.convs[{i}]: width and stride are at least 1, kernel is odd; found {conv}")
    if network.head.width < 0:
        found.append(f"head.width {network.head.width}: 0 for none, or at least 1")
    if not network.norm_eps > 0:
        found.append(f"norm_eps {network.norm_eps}: above 0")
    width = network.stem.convs[-1].width if network.stem.convs else 0
    for i, stage in enumerate(network.stages):
        found += [f"stages[{i}]{line}" for line in _stage_problems(stage, width)]
        width = stage.width
    if not found and network.resolution < (least := stride(network)):
        found.append(
            f"resolution {network.resolution} is too small for strides that divide it by {least}; "
            f"use at least {least}, or a stem of smaller stride"
        )
    return found


def _stage_problems(stage: Stage, width_in: int) -> list[str]:
    if min(stage.depth, stage.width, stage.stride) < 1 or stage.kernel < 1 or stage.kernel % 2 == 0:
        return [f": depth, width and stride are at least 1, kernel is odd; found {stage}"]
    found = []
    # the first block may be given another width than the others, which get the stage's own
    for inner in {stage.inner(width_in), stage.inner(stage.width)}:
        if inner < 1:
            found.append(f": width {stage.width} x bottleneck {stage.bottleneck} leaves no channel")
        elif stage.group_width is not None and (stage.group_width < 1 or inner % stage.group_width):
            found.append(f": group_width {stage.group_width} does not divide the inner width {inner}")
    if not 0 <= stage.se <= 1:
        found.append(f".se {stage.se}: between 0 and 1")
    return found


def stride(network: Network) -> int:
    """Pixels of the input for one of the last feature map, along a side: the product of all strides."""
    total = 2 if network.stem.pool == "max" else 1
    strides = [conv.stride for conv in network.stem.convs] + [stage.stride for stage in network.stages]
    return total * math.prod(strides)
