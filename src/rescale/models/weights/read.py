"""Read tensors from files: safetensors, or pickles, without running code that they contain."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rescale.errors import UserError, first_few
from rescale.models.weights.pickles import unpickled
from rescale.models.weights.state_dicts import Checkpoint, chosen

IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")  # of model folders and of timm


def weights_file(path: Path) -> Path:
    """The path itself, or the weights file in a folder. Raises UserError if there is none."""
    if path.is_dir():
        inside = [path / name for name in IN_FOLDERS if (path / name).is_file()]
        if not inside:
            raise UserError(f"{path}: the folder has no weights file, no {' or '.join(IN_FOLDERS)}")
        return inside[0]
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return path


def read_checkpoint(path: Path, key: str = "", averaged: bool | None = None) -> Checkpoint:
    """Read the state dict of a file, or of the weights file in a folder.

    Args:
        path: safetensors, or a file of `torch.save`: a state dict, or a training script's checkpoint with one
            or several. Pickles are read with `weights_only`; besides tensors and plain values only a few
            classes of training scripts are allowed, such as argparse.Namespace, which run no code.
        key: which of several state dicts to use, such as `state_dict_ema`.
        averaged: True for averaged weights, False for raw ones; None prefers averaged ones, and a note says
            so.

    Raises:
        UserError: the file is missing or damaged, needs classes that are not allowed, or holds no state dict;
            a value is not finite.
    """
    path = weights_file(path)
    content = _safetensors(path) if path.suffix == ".safetensors" else unpickled(path)
    checkpoint = chosen(content, key, averaged, where=str(path))
    _check_finite(path, checkpoint.tensors)
    return checkpoint


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file of safetensors, by the names in it.

    Raises UserError if the file is missing or damaged, or a value is not finite.
    """
    tensors = _safetensors(weights_file(path))
    _check_finite(path, tensors)
    return tensors


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    non_finite = [
        name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if non_finite:
        raise UserError(
            f"{path}: NaN or infinite values in {len(non_finite)} of its tensors ({first_few(non_finite, 3)})"
        )


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: damaged or not safetensors: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
