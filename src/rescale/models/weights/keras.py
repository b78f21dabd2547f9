"""Read Keras weights of ResNet-RS and EfficientNet: `.h5`, `.weights.h5` and `.keras` files.

There are two formats. The older `.h5`, of a whole model or of its weights, has `layer/variable:0` under the
names of the layers. `.weights.h5` (also inside a `.keras` archive) has `layers/conv2d_7/vars/0`: layers by
class and number in the order of `model.layers`, variables by number; Keras 3 adds the layer's name as an
attribute.

Names: keras/applications/resnet_rs.py and efficientnet.py; the published ResNet-RS files have the names of
github.com/sebastian-sz/resnet-rs-keras. Layers without variables are ignored, and so is the `normalization`
layer of EfficientNet, because our networks expect normalised images.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rescale.errors import UserError
from rescale.models.weights.layouts import Place, places
from rescale.models.weights.tensorflow import LEAVES, counted, in_our_names, ours_of
from rescale.network import Network

SUFFIXES = (".h5", ".hdf5", ".keras")

VARIABLES = {  # in the order of the numbers in `.weights.h5` files
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("depthwise_kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
}
_NUMBERED = re.compile(rf"[^/]+/(?P<layer>(?P<kind>{'|'.join(VARIABLES)})(?:_\d+)?)/vars/(?P<number>\d)")

RESNET_RS = {  # role in a block -> convolution, batch norm
    "conv1": ("conv_1", "batch_norm_1"),
    "conv2": ("conv_2", "batch_norm_2"),
    "conv3": ("conv_3", "batch_norm_3"),
    "se.reduce": ("se_reduce", ""),
    "se.expand": ("se_expand", ""),
    "shortcut.project": ("projection_conv", "projection_batch_norm"),
}
EFFICIENTNET = {
    "conv1": ("expand_conv", "expand_bn"),
    "conv2": ("dwconv", "bn"),
    "conv3": ("project_conv", "project_bn"),
    "se.reduce": ("se_reduce", ""),
    "se.expand": ("se_expand", ""),
}


def read_keras(path: Path, network: Network) -> dict[str, Tensor]:
    """The file's tensors by our names; layers that the network does not have keep their names."""
    named = by_name(network)
    try:
        with _opened(path) as file:
            root = file.get("model_weights", file)  # the file of a whole model also has optimizer weights
            stored = dict(_variables(root, named))
            top_level = ", ".join(list(file)[:4])
            tensors = in_our_names(stored, named | counted(network, places(network)))
    except (OSError, LookupError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged, or not a Keras file: {' '.join(str(error).split())}") from None
    if not stored:
        raise UserError(f"{path}: has no layers in Keras' format; its content: {top_level or 'nothing'}")
    return tensors


def by_name(network: Network) -> dict[str, str]:
    """The paths of our layers by the names of Keras' layers, for ResNet-RS and EfficientNet."""
    ours_by_theirs: dict[str, str] = {}
    for place in places(network):
        for names in (_resnet_rs(place), _efficientnet(place)):
            if names is not None:
                ours_by_theirs |= ours_of(place, *names)
    return ours_by_theirs


def _resnet_rs(place: Place) -> tuple[str, str] | None:
    """The names in the published files."""
    if place.part == "stem":
        return f"stem_conv_{place.number + 1}", f"stem_batch_norm_{place.number + 1}"
    if place.part == "head":
        return ("predictions", "") if place.role == "linear" else None
    conv, norm = RESNET_RS[place.role]
    block = f"c{place.stage + 2}_block_{place.block}"
    return f"{block}_{conv}", f"{block}_{norm}"


def _efficientnet(place: Place) -> tuple[str, str] | None:
    """The names of EfficientNet: stages are numbered from 1, blocks are letters; it has no projections."""
    if place.part == "stem":
        return "stem_conv", "stem_bn"
    if place.part == "head":
        return ("predictions", "") if place.role == "linear" else ("top_conv", "top_bn")
    if place.role not in EFFICIENTNET:
        return None
    conv, norm = EFFICIENTNET[place.role]
    block = f"block{place.stage + 1}{chr(ord('a') + place.block)}"
    return f"{block}_{conv}", f"{block}_{norm}"


def _published(layer: str) -> str:
    """A layer's name as in the published ResNet-RS files; Keras itself generates other names.

    stem_1_stem_conv_1 (the number counts the models of a process), BlockGroup2__block_0__conv_1,
    BlockGroup2__block_0_batch_norm_1, BlockGroup2__block_0__se_se_reduce.
    """
    layer = re.sub(r"^stem_\d+_(?=stem_)", "", layer)
    layer = re.sub(r"^BlockGroup(\d+)__block_(\d+)_+", r"c\1_block_\2_", layer)
    return layer.replace("_se_se_", "_se_")


def _variables(root: Any, named: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    """Name (`layer/leaf`) and values of each variable, in either file format."""
    for path, item in _datasets(root):
        if numbered := _NUMBERED.fullmatch(path):
            layer = _published(str(item.parent.attrs.get("name", "")))
            leaf = VARIABLES[numbered["kind"]][int(numbered["number"])]
            yield f"{layer if layer in named else numbered['layer']}/{leaf}", np.asarray(item[()])
            continue
        *_, layer, leaf = ["", *path.removesuffix(":0").split("/")]
        if layer and leaf in LEAVES:
            yield f"{_published(layer)}/{leaf}", np.asarray(item[()])


def _datasets(root: Any) -> Iterator[tuple[str, Any]]:
    """Each array in an HDF5 group, by its path."""
    paths: list[str] = []
    root.visit(paths.append)
    for path in paths:
        item = root[path]
        if hasattr(item, "shape"):
            yield path, item


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The HDF5 file, or the one inside a `.keras` archive."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path}: Keras' files need h5py: pip install 'rescale-vision[keras]'") from None
    source: Any = path
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(source, "r") as file:
        yield file
