"""Common to the weights of Keras and TensorFlow 1: numbered layers, names of variables, order of axes."""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from rescale.geometry import layers
from rescale.models.weights.layouts import Place
from rescale.network import Network

LEAVES = {  # TensorFlow's name of a layer's variable -> torch's
    "kernel": "weight",
    "depthwise_kernel": "weight",  # in tf_keras; Keras 3 calls it kernel
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def ours_of(place: Place, conv: str, norm: str) -> dict[str, str]:
    """The paths of our layers by the names of theirs, for the one or two layers of a place."""
    if not place.normed:
        return {conv: place.ours}
    return {conv: f"{place.ours}.conv", norm: f"{place.ours}.norm"}


def counted(network: Network, places: Iterable[Place]) -> dict[str, str]:
    """The paths of our layers by the names of theirs, numbered by class: conv2d, conv2d_1, ..., dense.

    places: in the order of numbering. Each class is numbered separately, from 0, which is not written;
    depthwise convolutions are a separate class in Keras.
    """
    depthwise = {layer.name for layer in layers(network) if layer.kind == "conv" and layer.depthwise}
    counts: Counter[str] = Counter()

    def numbered(kind: str) -> str:
        counts[kind] += 1
        return kind if counts[kind] == 1 else f"{kind}_{counts[kind] - 1}"

    ours_by_theirs: dict[str, str] = {}
    for place in places:
        kind = "depthwise_conv2d" if place.ours in depthwise else "conv2d"
        conv = numbered("dense" if place.role == "linear" else kind)
        ours_by_theirs |= ours_of(place, conv, numbered("batch_normalization") if place.normed else "")
    return ours_by_theirs


def in_our_names(stored: dict[str, np.ndarray], ours: dict[str, str]) -> dict[str, Tensor]:
    """Rename variables (`layer/leaf` -> values) and transpose them; layers not in `ours` keep their names."""
    tensors = {}
    for name, values in stored.items():
        layer, _, leaf = name.rpartition("/")
        ours_name = f"{ours[layer]}.{LEAVES[leaf]}" if layer in ours else name
        tensors[ours_name] = in_torchs_axes(values, depthwise=bool(re.search("depthwise|dwconv", name)))
    return tensors


def in_torchs_axes(values: np.ndarray, depthwise: bool = False) -> Tensor:
    """HWIO -> OIHW, of depthwise convolutions HWI1 -> I1HW, of linear layers IO -> OI; float32."""
    if values.ndim == 4:
        values = values.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
    elif values.ndim == 2:
        values = values.T
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
