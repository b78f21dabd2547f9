"""Load weights with this project's, timm's or torchvision's names, or from Keras or TensorFlow files."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from rescale.errors import UserError, first_few, plural
from rescale.models.build import Model
from rescale.models.weights.keras import SUFFIXES, read_keras
from rescale.models.weights.layouts import LAYOUTS, renamed, tensor_names
from rescale.models.weights.read import read_checkpoint, weights_file
from rescale.models.weights.state_dicts import Checkpoint, unwrapped
from rescale.models.weights.tf1 import files_of, prefix_of, read_tf1

_HEAD = ("head.linear.weight", "head.linear.bias")


@dataclass(frozen=True)
class Loaded:
    """The result of loading weights.

    Args:
        loaded: number of tensors that were loaded.
        kept: tensors of the model that the file did not provide, except batch norm's step counters.
        unused: tensors of the file that were not used.
        notes: assumptions and choices, one line each.
        averaged: whether the weights are an average over training steps; None if the file does not say.
    """

    loaded: int
    kept: tuple[str, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()
    averaged: bool | None = None


def load_weights(
    model: Model,
    source: str | Path | Mapping[str, Tensor],
    key: str = "",
    averaged: bool | None = None,
) -> Loaded:
    """Load the weights of a file or a state dict into a model.

    Supported are tensors with this project's, timm's and torchvision's names, the Keras files of ResNet-RS
    and EfficientNet, and TensorFlow-1 checkpoints of ResNet-RS. A head with another number of classes keeps
    its initial weights, and the result says so. If anything else does not fit, the model is unchanged.

    Args:
        model: from `build`; it is changed in place.
        source: path of a weights file or of a folder with one; or a state dict.
        key: which state dict of a training script's checkpoint to use, such as `state_dict_ema`.
        averaged: True for averaged weights, False for raw ones; None prefers averaged ones, and a note says
            so.

    Returns:
        How many tensors were loaded, which were kept or not used, and notes.

    Raises:
        UserError: the file is missing, damaged or of an unknown format; it has no state dict under `key`;
            tensors are missing, unknown or of another shape (the message names them).
    """
    if isinstance(source, str | Path):
        weights = read_weights(Path(source), model, key, averaged)
    else:
        weights = in_names_of(model, Checkpoint(dict(source)))
    own, tensors = model.state_dict(), weights.tensors
    head = [name for name in _HEAD if name in tensors and tensors[name].shape != own[name].shape]
    fits = fitting(model, {n: t for n, t in tensors.items() if n not in head}, model.network.name, head)
    model.load_state_dict({**own, **fits})
    notes = list(weights.notes)
    if head:
        theirs, ours = tensors[head[0]].shape[0], own[head[0]].shape[0]
        new = f"it is newly initialised for {ours}"
        notes.append(f"the head of {plural(theirs, 'class')} was not loaded; {new}")
    kept = (name for name in own if name not in fits and not name.endswith("num_batches_tracked"))
    return Loaded(len(fits), tuple(kept), weights.outside, tuple(notes), weights.averaged)


def read_weights(path: Path, module: nn.Module, key: str = "", averaged: bool | None = None) -> Checkpoint:
    """Read a file or folder of weights, in the names of the module's tensors.

    Args:
        path: a file of safetensors, torch.save, Keras or TensorFlow, or a folder with one.
        module: one of this project's networks, for which the names of other libraries are known; or another
            module, whose weights must have its own names. It is not changed and may be on the meta device.
        key, averaged: which state dict to use, as in `read_checkpoint`.

    Raises:
        UserError: the file cannot be read. `fitting` checks whether its tensors fit.
    """
    is_keras = path.is_file() and path.suffix in SUFFIXES
    prefix = None if is_keras else prefix_of(path)
    if not is_keras and not prefix:
        return in_names_of(module, read_checkpoint(path, key, averaged))
    if not isinstance(module, Model):
        raise UserError(f"{path}: Keras and TensorFlow files can be read only for this project's networks")
    if key or averaged is not None:
        raise UserError(f"{path}: --weights-key, --averaged and --raw are for files of torch.save")
    if prefix:
        return Checkpoint(read_tf1(prefix, module.network))
    return Checkpoint(read_keras(path, module.network))


def digest(path: Path) -> str:
    """SHA-256 of the weights file at a path, or of a TensorFlow checkpoint's files in order."""
    prefix = None if path.is_file() and path.suffix in SUFFIXES else prefix_of(path)
    total = hashlib.sha256()
    for file in files_of(prefix) if prefix else [weights_file(path)]:
        with file.open("rb") as opened:
            while piece := opened.read(1 << 20):
                total.update(piece)
    return total.hexdigest()


def in_names_of(module: nn.Module, weights: Checkpoint) -> Checkpoint:
    """Rename tensors to the module's names, without the prefixes of wrappers.

    Tensors outside the wrapped model are dropped, with a note; unknown names are not changed.
    """
    if isinstance(module, Model):
        known = {name for layout in LAYOUTS.values() for name in tensor_names(module.network, layout)}
    else:
        known = set(module.state_dict())
    bare, outside = unwrapped(weights.tensors, known)
    names = renamed(module.network, set(bare.values()))[1] if isinstance(module, Model) else {}
    notes = list(weights.notes)
    if outside:
        names_outside = f"{first_few(outside, 3)} ({len(outside)} in all)"
        notes.append(f"ignored, since they are not part of the model: {names_outside}")
    tensors = {names.get(name, name): weights.tensors[full] for full, name in bare.items()}
    return Checkpoint(tensors, weights.averaged, tuple(notes), tuple(outside))


def fitting(
    module: nn.Module, tensors: Mapping[str, Tensor], name: str, may_lack: Collection[str] = ()
) -> dict[str, Tensor]:
    """The tensors, if their names and shapes are those of the module.

    Args:
        module: the module that the tensors must fit.
        tensors: the tensors by the names in its state dict.
        name: name of the model, for the error message.
        may_lack: tensors of the module that may be missing; batch norm's step counters always may.

    Raises:
        UserError: tensors differ; the message names them.
    """
    own = module.state_dict()
    wrong = [
        f"{n}: {tuple(tensors[n].shape)}, here {tuple(tensor.shape)}"
        for n, tensor in own.items()
        if n in tensors and tensors[n].shape != tensor.shape
    ]
    missing = (n for n in own if n not in tensors and n not in may_lack)
    wrong += [f"{n}: missing" for n in missing if not n.endswith("num_batches_tracked")]
    wrong += [f"{n}: unknown here" for n in tensors if n not in own]
    if wrong:
        raise UserError(
            f"these are not weights of {name}: {len(wrong)} of {plural(len(own), 'tensor')} differ: "
            + "; ".join(wrong[:5])
            + ("; ..." if len(wrong) > 5 else "")
        )
    return dict(tensors)
