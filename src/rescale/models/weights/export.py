"""Export weights in timm's folder layout: `timm.create_model("local-dir:...", pretrained=True)`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from rescale.errors import JobError, UserError
from rescale.families.efficientnet import ROWS
from rescale.families.regnet import DESIGN_SPACES, TORCHVISION
from rescale.files import atomic, check_free, make_folder, write_json
from rescale.lookup import network
from rescale.models.build import Model
from rescale.models.weights.layouts import (
    Layout,
    tensor_names,
    timm_efficientnet,
    timm_regnet,
)
from rescale.models.weights.layouts import resnet as timm_resnet
from rescale.network import Input, Network
from rescale.preprocess import Preprocess

RESNETS = (  # networks that timm has under the same name
    *("resnet18", "resnet34", "resnet18d", "resnet34d"),
    *("resnet26", "resnet50", "resnet101", "resnet152", "resnet200"),
    *("resnet26d", "resnet50d", "resnet101d", "resnet152d", "resnet200d"),
    *(f"resnetrs{depth}" for depth in (50, 101, 152, 200, 270, 350, 420)),
    *("resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
)
TOLERANCE = 1e-4  # relative, between our outputs and timm's, in float32


@dataclass(frozen=True)
class Architecture:
    """How timm creates a network: name, arguments, and the layout of its tensors."""

    name: str
    arguments: dict[str, Any]
    layout: Layout


def architecture(net: Network) -> Architecture:
    """The timm architecture with exactly this structure. Raises UserError if timm has none."""
    for name, layout in _timm_names():
        if _same_body(network(name), net):
            return Architecture(name, {}, layout)
    counts = [stage.depth for stage in net.stages]
    for name in ("resnet18", "resnet18d", "resnet50", "resnet50d", "resnetrs50") if len(counts) == 4 else ():
        body = network(name)
        stages = tuple(replace(s, depth=n) for s, n in zip(body.stages, counts, strict=True))
        if _same_body(replace(body, stages=stages), net):
            return Architecture(name, {"layers": counts}, timm_resnet)
    raise UserError(
        f"{net.name}: timm has no network of this structure; its weights are in model.safetensors as they are"
    )


def export_weights(model: Model, folder: Path, preprocess: Preprocess) -> list[str]:
    """Write config.json and model.safetensors in timm's layout.

    If timm is installed, it loads the folder, and its outputs are compared with ours.

    Args:
        model: the model with its weights.
        folder: a new or empty folder.
        preprocess: how the model's inputs are prepared; its labels are written if there are any.

    Returns:
        The architecture and the result of the comparison, one line each.

    Raises:
        UserError: timm has no network of this structure.
        JobError: a file cannot be written, or timm's outputs differ.
    """
    timm_model = architecture(model.network)
    state = model.state_dict()
    names = tensor_names(model.network, timm_model.layout)
    tensors = {theirs: state[ours].contiguous() for theirs, ours in names.items() if ours in state}
    if len(tensors) != len(state):
        raise AssertionError(f"{timm_model.name}: {len(state) - len(tensors)} tensors have no name there")
    check_free(folder)
    size = model.network.resolution
    config = {
        "architecture": timm_model.name,
        "num_classes": model.network.head.classes,
        "model_args": timm_model.arguments,
        "pretrained_cfg": {
            "input_size": [model.network.input.channels, size, size],
            "interpolation": preprocess.interpolation.removeprefix("tf1-"),
            "crop_pct": preprocess.crop,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "num_classes": model.network.head.classes,
            **({"label_names": list(preprocess.labels)} if preprocess.labels else {}),
        },
    }
    make_folder(folder)
    with atomic(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary)
    write_json(folder / "config.json", config)
    return [f"architecture {timm_model.name}", _checked(model, folder)]


def _checked(model: Model, folder: Path) -> str:
    """Load the folder with timm and compare outputs. Raises JobError if they differ."""
    try:
        import timm
    except ImportError:
        return "not checked: timm is not installed"
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    size = model.network.resolution
    images = torch.randn(1, model.network.input.channels, size, size)
    was_training = model.training
    with torch.no_grad():
        our_outputs, their_outputs = model.eval()(images), theirs(images)
    model.train(was_training)
    gap = _gap(our_outputs, their_outputs)
    if not gap <= TOLERANCE:
        raise JobError(f"{folder}: timm's outputs differ by {gap:.1e} of the largest; do not use it")
    return f"timm {timm.__version__} loads it; outputs differ by {gap:.0e} of the largest"


def _gap(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference of the outputs, relative to timm's largest output."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12))


def _timm_names() -> list[tuple[str, Layout]]:
    """The networks that timm has under the same name, and the layouts of their tensors."""
    regnets = [*DESIGN_SPACES, *TORCHVISION]
    efficient = [f"{kind}_{row}" for kind in ("efficientnet", "tf_efficientnet") for row in ROWS]
    return [
        *((name, timm_resnet) for name in RESNETS),
        *((name, timm_regnet) for name in regnets),
        *((name, timm_efficientnet) for name in efficient),
    ]


def _same_body(first: Network, second: Network) -> bool:
    """Whether two networks are equal except for input size and classes."""
    size = Input(second.resolution, first.input.channels)
    head = replace(first.head, classes=second.head.classes)
    return replace(first, input=size, head=head).identity == second.identity
