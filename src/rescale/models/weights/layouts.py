"""Layouts: how other libraries name the tensors of a network.

A layout is a function from a layer's place to the library's names (convolution, batch norm), or None if the
library has no such layer. `tensor_names` derives the pairs of tensor names.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rescale.geometry import geometry
from rescale.network import Network

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Place(NamedTuple):
    """The position of a layer with weights in a network.

    ours: its path in our module. part: stem, block or head. role: conv (stem, head), linear (head), or the
    layer's role in its block. normed: whether batch norm follows. number: index of a convolution in the stem.
    expands: whether the block has a conv1. squeezes: whether the block has squeeze-and-excitation.
    """

    ours: str
    part: str
    role: str
    normed: bool
    stage: int = 0
    block: int = 0
    number: int = 0
    expands: bool = False
    squeezes: bool = False


Names = tuple[str, str] | None
Layout = Callable[[Network, Place], Names]


def places(network: Network) -> Iterator[Place]:
    """Each layer with weights, in the order of the forward pass; a shortcut follows its branch."""
    shapes = geometry(network)
    convs = [layer for layer in shapes.stem if layer.kind == "conv"]
    for i, layer in enumerate(convs):
        yield Place(layer.name, "stem", "conv", True, number=i)
    for block in shapes.blocks:
        has = ("conv1" in block.layers, "se.reduce" in block.layers)
        for j, path in enumerate(block.names(), start=block.first):
            for role, layer in block.layers.items():
                if layer.kind == "conv":
                    yield Place(f"{path}.{role}", "block", role, layer.norm, block.stage, j, 0, *has)
    for layer in shapes.head:
        yield Place(layer.name, "head", layer.name.removeprefix("head."), layer.norm)


def tensor_names(network: Network, layout: Layout) -> dict[str, str]:
    """Our tensor names by the names of the layout."""
    ours_by_theirs = {}
    for place in places(network):
        if (names := layout(network, place)) is None:
            continue
        conv, norm = names
        if place.normed:
            ours_by_theirs[f"{conv}.weight"] = f"{place.ours}.conv.weight"
            ours_by_theirs |= {f"{norm}.{leaf}": f"{place.ours}.norm.{leaf}" for leaf in NORM}
        else:
            ours_by_theirs |= {f"{conv}.{leaf}": f"{place.ours}.{leaf}" for leaf in ("weight", "bias")}
    return ours_by_theirs


def ours(_: Network, place: Place) -> Names:
    """This project's own names."""
    return f"{place.ours}.conv" if place.normed else place.ours, f"{place.ours}.norm"


def resnet(network: Network, place: Place) -> Names:
    """timm's and torchvision's ResNet and ResNeXt, timm's ResNet-D and ResNet-RS."""
    if place.part == "stem":
        convs = len(network.stem.convs)
        if place.number == 3 or (convs == 2 and place.number == 1):  # replaces the pool
            return "maxpool.0", "maxpool.1"
        if convs <= 2:
            return "conv1", "bn1"
        return (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1"))[place.number]
    if place.part == "head":
        return ("fc", "") if place.role == "linear" else None
    block = f"layer{place.stage + 1}.{place.block}"
    if place.role == "shortcut.project":
        # after an average pool, or the identity that replaces it, the convolution is the second module
        index = 1 if network.stages[place.stage].shortcut == "pool" else 0
        return f"{block}.downsample.{index}", f"{block}.downsample.{index + 1}"
    squeeze = {"se.reduce": "se.fc1", "se.expand": "se.fc2"}
    return f"{block}.{squeeze.get(place.role, place.role)}", f"{block}.{place.role.replace('conv', 'bn')}"


def timm_regnet(_: Network, place: Place) -> Names:
    """timm's RegNetX, Y and Z."""
    if place.part == "stem":
        return "stem.conv", "stem.bn"
    if place.part == "head":
        return ("head.fc", "") if place.role == "linear" else ("final_conv.conv", "final_conv.bn")
    block = f"s{place.stage + 1}.b{place.block + 1}"
    squeeze = {"se.reduce": "se.fc1", "se.expand": "se.fc2"}
    if place.role in squeeze:
        return f"{block}.{squeeze[place.role]}", ""
    unit = "downsample" if place.role == "shortcut.project" else place.role
    return f"{block}.{unit}.conv", f"{block}.{unit}.bn"


def torchvision_regnet(_: Network, place: Place) -> Names:
    """torchvision's RegNetX and Y."""
    if place.part == "stem":
        return "stem.0", "stem.1"
    if place.part == "head":
        return ("fc", "") if place.role == "linear" else None
    block = f"trunk_output.block{place.stage + 1}.block{place.stage + 1}-{place.block}"
    squeeze = {"se.reduce": "f.se.fc1", "se.expand": "f.se.fc2"}
    if place.role in squeeze:
        return f"{block}.{squeeze[place.role]}", ""
    unit = {"conv1": "f.a", "conv2": "f.b", "conv3": "f.c", "shortcut.project": "proj"}[place.role]
    return f"{block}.{unit}.0", f"{block}.{unit}.1"


def timm_efficientnet(_: Network, place: Place) -> Names:
    """timm's EfficientNets."""
    if place.part == "stem":
        return "conv_stem", "bn1"
    if place.part == "head":
        return ("classifier", "") if place.role == "linear" else ("conv_head", "bn2")
    block = f"blocks.{place.stage}.{place.block}"
    squeeze = {"se.reduce": "se.conv_reduce", "se.expand": "se.conv_expand"}
    if place.role in squeeze:
        return f"{block}.{squeeze[place.role]}", ""
    if place.expands:
        units = {"conv1": ("conv_pw", "bn1"), "conv2": ("conv_dw", "bn2"), "conv3": ("conv_pwl", "bn3")}
    else:
        units = {"conv2": ("conv_dw", "bn1"), "conv3": ("conv_pw", "bn2")}
    if place.role not in units:
        return None
    conv, norm = units[place.role]
    return f"{block}.{conv}", f"{block}.{norm}"


def torchvision_efficientnet(network: Network, place: Place) -> Names:
    """torchvision's EfficientNets."""
    if place.part == "stem":
        return "features.0.0", "features.0.1"
    if place.part == "head":
        last = f"features.{len(network.stages) + 1}"
        return ("classifier.1", "") if place.role == "linear" else (f"{last}.0", f"{last}.1")
    block = f"features.{place.stage + 1}.{place.block}.block"
    order = ["conv1"] * place.expands + ["conv2"] + ["se"] * place.squeezes + ["conv3"]
    squeeze = {"se.reduce": "fc1", "se.expand": "fc2"}
    if place.role in squeeze:
        return f"{block}.{order.index('se')}.{squeeze[place.role]}", ""
    if place.role not in order:
        return None
    index = order.index(place.role)
    return f"{block}.{index}.0", f"{block}.{index}.1"


LAYOUTS: dict[str, Layout] = {
    "rescale": ours,
    "timm's or torchvision's ResNet": resnet,
    "timm's RegNet": timm_regnet,
    "torchvision's RegNet": torchvision_regnet,
    "timm's EfficientNet": timm_efficientnet,
    "torchvision's EfficientNet": torchvision_efficientnet,
}


def renamed(network: Network, names: set[str]) -> tuple[str, dict[str, str]]:
    """The layout that most of the tensor names belong to, and our names by its names."""
    tables = {name: tensor_names(network, layout) for name, layout in LAYOUTS.items()}
    best = max(tables, key=lambda layout: len(names & tables[layout].keys()))
    return best, tables[best]
