"""A network as a value: what it is, without torch and without a module; YAML in and out."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from rescale.errors import UserError, validation_lines

Pool = Literal["max", "none"]
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
    """`depth` residual bottleneck blocks of one width; the first one carries the stride.

    width: channels that leave each block. bottleneck: inner width / width. se: width of
    squeeze-and-excitation / width, 0 for none. shortcut: how the first block's projection meets a
    stride, by a strided 1x1 convolution or by average pooling before it (ResNet-D). stride_at: the
    convolution that carries the stride, the first 1x1 (ResNet, 2015) or the 3x3 (everyone since).
    """

    __pydantic_config__: ClassVar = _STRICT

    depth: int
    width: int
    stride: int = 2
    bottleneck: float = 0.25
    se: float = 0.0
    shortcut: Shortcut = "conv"
    stride_at: StrideAt = "conv2"


@dataclass(frozen=True)
class Head:
    """Global average pooling, dropout (a rate of the recipe's) and one linear layer."""

    __pydantic_config__: ClassVar = _STRICT

    classes: int = 1000


@dataclass(frozen=True)
class Network:
    """A vision network. Two networks of equal structure are the same network, whatever their names."""

    __pydantic_config__: ClassVar = _STRICT

    name: str
    input: Input
    stem: Stem
    stages: tuple[Stage, ...]
    head: Head = field(default_factory=Head)

    @property
    def resolution(self) -> int:
        """Pixels a side."""
        return self.input.resolution

    @property
    def depth(self) -> int:
        """Layers as ResNets are named: three convolutions a block, the first layer and the last.

        ResNet-270, 300, 350, 400 and 420 have 272, 296, 350, 398 and 419.
        """
        return 3 * sum(stage.depth for stage in self.stages) + 2

    @property
    def width(self) -> float:
        """Width multiplier against ResNet, whose first stage is 256 wide."""
        return self.stages[0].width / 256

    def at(self, resolution: int) -> "Network":
        """The same network for another input size."""
        base = self.name.split("@")[0]
        return replace(self, name=f"{base}@{resolution}", input=replace(self.input, resolution=resolution))

    def with_classes(self, classes: int) -> "Network":
        """The same network with a head of `classes` outputs."""
        return replace(self, head=replace(self.head, classes=classes))

    @property
    def identity(self) -> str:
        """Hash of the structure, the name left out."""
        structure = asdict(self)
        del structure["name"]
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
    if wrong := problems(network):
        raise UserError(*(f"{where}: {line}" for line in wrong))
    return network


def _known_keys(place: tuple[str | int, ...]) -> list[str]:
    """The keys that exist at a place in a network file."""
    parts = {"input": Input, "stem": Stem, "convs": Conv, "stages": Stage, "head": Head}
    names = [step for step in place if isinstance(step, str)]
    return [item.name for item in fields(parts[names[-1]] if names else Network)]


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
    for i, stage in enumerate(network.stages):
        if min(stage.depth, stage.width, stage.stride) < 1:
            found.append(f"stages[{i}]: depth, width and stride are at least 1; found {stage}")
        elif int(stage.width * stage.bottleneck) < 1:
            found.append(
                f"stages[{i}]: width {stage.width} x bottleneck {stage.bottleneck} leaves no channel"
            )
        if not 0 <= stage.se <= 1:
            found.append(f"stages[{i}].se {stage.se}: between 0 and 1")
    if not found and network.resolution < (least := stride(network)):
        found.append(
            f"resolution {network.resolution} is too small for strides that divide it by {least}; "
            f"use at least {least}, or a stem of smaller stride"
        )
    return found


def stride(network: Network) -> int:
    """Pixels of the input for one of the last feature map, along a side: the product of all strides."""
    total = 2 if network.stem.pool == "max" else 1
    strides = [conv.stride for conv in network.stem.convs] + [stage.stride for stage in network.stages]
    return total * math.prod(strides)
