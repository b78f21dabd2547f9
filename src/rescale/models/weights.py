"""Weights from files: safetensors or a pickle of tensors, in our names, timm's or torchvision's."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rescale.errors import UserError
from rescale.models.build import Model

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_HEAD = ("head.linear.weight", "head.linear.bias")


@dataclass(frozen=True)
class Loaded:
    """What loading did. kept: tensors of the model that the file did not fill; unused: the file's extras."""

    loaded: int
    kept: tuple[str, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load_weights(model: Model, source: str | Path | Mapping[str, Tensor]) -> Loaded:
    """Fill a model from a file or a state dict in our names, timm's or torchvision's.

    A head of another size stays as it was drawn, and the result says so. Anything else that does not
    fit raises UserError with the tensors' names, and the model is left untouched.
    """
    given = read_tensors(Path(source)) if isinstance(source, str | Path) else dict(source)
    found = in_our_names(model, given)
    own = model.state_dict()
    reshaped = [name for name in own if name in found and found[name].shape != own[name].shape]
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    unused = tuple(name for name in found if name not in own)
    head = [name for name in _HEAD if name in reshaped]
    wrong = [f"{n}: {tuple(found[n].shape)}, here {tuple(own[n].shape)}" for n in reshaped if n not in head]
    wrong += [f"{name}: missing" for name in missing] + [f"{name}: unknown here" for name in unused]
    if wrong:
        raise UserError(
            f"these are not weights of {model.network.name}: {len(wrong)} of {len(own)} tensors differ: "
            + "; ".join(wrong[:5])
            + ("; ..." if len(wrong) > 5 else "")
        )
    fits = {name: tensor for name, tensor in found.items() if name not in head}
    model.load_state_dict({**own, **fits})
    notes: tuple[str, ...] = ()
    if head:
        theirs, ours = found[head[0]].shape[0], own[head[0]].shape[0]
        notes = (f"the head of {theirs} classes was left out; it stays as drawn for {ours}",)
    return Loaded(len(fits), tuple(name for name in own if name not in fits), unused, notes)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict: safetensors, or a pickle that holds nothing but tensors (weights_only)."""
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path}: damaged or not safetensors: {error}") from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged, or a pickle that holds more than tensors: {reason}") from None
    for key in ("state_dict", "model"):  # how training scripts wrap it
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path}: holds no state dict of tensors")
    return found


def in_our_names(model: Model, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's or torchvision's tensors to ours; a name that none has stays as it is."""
    given = {name.removeprefix("module."): tensor for name, tensor in given.items()}
    if "head.linear.weight" in given:
        return given
    names = dict(_renames(model))
    return {names.get(name, name): tensor for name, tensor in given.items()}


def _renames(model: Model) -> list[tuple[str, str]]:
    """(their name, our name) of every tensor. timm and torchvision differ from each other in no name."""
    pairs: list[tuple[str, str]] = []

    def conv(theirs: str, ours: str, norm: str) -> None:
        pairs.append((f"{theirs}.weight", f"{ours}.conv.weight"))
        pairs.extend((f"{norm}.{leaf}", f"{ours}.norm.{leaf}") for leaf in _NORM)

    convs = len(model.stem.convs)
    if convs in (1, 2):  # one convolution, and ResNet-RS's in the pool's place
        conv("conv1", "stem.convs.0", "bn1")
    else:
        conv("conv1.0", "stem.convs.0", "conv1.1")
        conv("conv1.3", "stem.convs.1", "conv1.4")
        conv("conv1.6", "stem.convs.2", "bn1")
    if convs in (2, 4):
        conv("maxpool.0", f"stem.convs.{convs - 1}", "maxpool.1")
    for i, stage in enumerate(model.network.stages):
        for j in range(stage.depth):
            theirs, ours = f"layer{i + 1}.{j}", f"stages.{i}.{j}"
            for k in (1, 2, 3):
                conv(f"{theirs}.conv{k}", f"{ours}.conv{k}", f"{theirs}.bn{k}")
            for their_leaf, our_leaf in (("se.fc1", "se.reduce"), ("se.fc2", "se.expand")):
                pairs.extend(
                    (f"{theirs}.{their_leaf}.{p}", f"{ours}.{our_leaf}.{p}") for p in ("weight", "bias")
                )
            # behind an average pool (or the identity that stands for it) the convolution is the second
            at = 1 if stage.shortcut == "pool" else 0
            conv(f"{theirs}.downsample.{at}", f"{ours}.shortcut.project", f"{theirs}.downsample.{at + 1}")
    pairs.extend((f"fc.{leaf}", f"head.linear.{leaf}") for leaf in ("weight", "bias"))
    return pairs
