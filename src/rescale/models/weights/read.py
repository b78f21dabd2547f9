"""Read tensors from files: safetensors, or pickles, without running code that they contain."""

import argparse
import datetime
import pathlib
import pickle
import re
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rescale.errors import UserError, first_few
from rescale.models.weights.state_dicts import Checkpoint, chosen

ALONE = (
    "save the state dict alone: torch.save(model.state_dict(), NEW); or, if you trust the file: "
    "torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)"
)
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
    content = _safetensors(path) if path.suffix == ".safetensors" else _unpickled(path)
    checkpoint = chosen(content, key, averaged, where=str(path))
    non_finite = [
        name
        for name, tensor in checkpoint.tensors.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if non_finite:
        raise UserError(
            f"{path}: NaN or infinite values in {len(non_finite)} of its tensors ({first_few(non_finite, 3)})"
        )
    return checkpoint


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: damaged or not safetensors: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def _unpickled(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a protocol that the error below names
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError),
        *(AttributeError, LookupError),  # raised for bytes that are not a pickle
    ) as error:
        if refused := _refused(path, error):
            raise UserError(
                f"{path}: its pickle needs {first_few(refused)}, which could run code and is not allowed; "
                f"{ALONE}"
            ) from None
        if isinstance(error, pickle.UnpicklingError):
            _, _, reason = str(error).partition("WeightsUnpickler error:")
            what = next((f" ({line.strip()})" for line in reason.splitlines() if line.strip()), "")
            raise UserError(
                f"{path}: damaged, or its pickle{what} cannot be read without code that it may contain; "
                f"{ALONE}"
            ) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged, or not written by torch.save: {reason}") from None


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _allowed() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """The allowed classes and functions that training scripts save besides tensors, by name in pickles."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    assert callable(scalar) and callable(array)
    kinds = {type(np.dtype(kind)) for kind in ("?", *np.typecodes["AllInteger"], *np.typecodes["AllFloat"])}
    return [
        *(argparse.Namespace, types.SimpleNamespace, list, dict, int, float),
        (_plain_dict, "collections.defaultdict"),  # torch fills no other kinds of dictionaries
        *(datetime.datetime, datetime.date, datetime.timedelta),
        (scalar, "numpy.core.multiarray.scalar"),  # NumPy 1
        (scalar, "numpy._core.multiarray.scalar"),
        (array, "numpy.core.multiarray._reconstruct"),
        (array, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        *kinds,
        (pathlib.PurePosixPath, "pathlib.PosixPath"),
        (pathlib.PurePosixPath, "pathlib._local.PosixPath"),  # Python 3.13
    ]


def _refused(path: Path, error: Exception) -> list[str]:
    """The names of a pickle's classes and functions that are not allowed."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    try:
        with torch.serialization.safe_globals(_allowed()):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (ValueError, RuntimeError, OSError, pickle.UnpicklingError):
        # the file format before zip archives, or another protocol
        names = []
    return sorted(names) or re.findall(r"GLOBAL ([\w.]+)", str(error))
