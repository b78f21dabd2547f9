"""Read files of torch.save without running code that they contain; say why one cannot be read."""

import argparse
import datetime
import pathlib
import pickle
import re
import types
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rescale.errors import UserError, first_few
from rescale.models.weights.outline import class_name, is_model, outline, saving_state_dicts

AGAIN = "copy or download it again"
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # first bytes of the two formats of torch.save


def unpickled(path: Path) -> Any:
    """The content of a file of torch.save.

    Besides tensors and plain values only a few classes are allowed, which run no code.

    Raises:
        UserError: the file cannot be read, is damaged or of another format, or needs other classes.
    """
    try:
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a protocol that the error below names
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError),
        *(AttributeError, LookupError),  # raised for bytes that are not a pickle
    ) as error:
        raise UserError(f"{path}: {_reason(path, error)}") from None


def _reason(path: Path, error: Exception) -> str:
    """Why a file could not be read, and what to do."""
    try:
        with path.open("rb") as file:
            start = file.read(24)
    except OSError as unreadable:
        return f"cannot be read ({unreadable.strerror or unreadable})"
    if other := _other_format(path, start):
        return other
    if refused := _refused(path, error):
        return _with_classes(path, refused)
    if isinstance(error, pickle.UnpicklingError):
        _, _, reason = str(error).partition("WeightsUnpickler error:")
        what = next((f" ({line.strip()})" for line in reason.splitlines() if line.strip()), "")
        return f"damaged, or its pickle{what} cannot be read without running code; {_alone(outline(path))}"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"damaged or incomplete ({reason[:100]}); {AGAIN}"


def _other_format(path: Path, start: bytes) -> str:
    """What a file is if it is not a complete one of torch.save; otherwise empty."""
    if not start:
        return f"is empty; {AGAIN}"
    if start.startswith(ZIP):
        if not zipfile.is_zipfile(path):
            return f"incomplete, its end is missing; {AGAIN}"
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return (
                    "a TorchScript program, not weights; save its state dict alone: "
                    "torch.save(torch.jit.load(FILE).state_dict(), NEW)"
                )
    elif start[8:10] == b'{"':
        return "holds safetensors; name it *.safetensors"
    elif not start.startswith(PICKLE):
        return f"not a file of torch.save (it begins with {start!r}); {AGAIN}"
    return ""


def _with_classes(path: Path, refused: list[str]) -> str:
    """The reason for a pickle that needs classes or functions that are not allowed."""
    content = outline(path)
    if is_model(content):
        what = f"a whole model: reading it needs {class_name(content)}"
    else:
        what = f"its pickle needs {first_few(refused, 2)}"
    return f"{what}, which could run code; {_alone(content)}"


def _alone(content: Any) -> str:
    """How to save the weights without what cannot be read. content: the file's outline."""
    code = saving_state_dicts(content)
    if not code:
        return "save the state dict alone: torch.save(model.state_dict(), NEW)"
    return f"if you trust the file, save the state dict alone: {code}"


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _plain_list(*_: Any) -> list[Any]:
    return []


def _allowed() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """The allowed classes and functions that training scripts save besides tensors, by name in pickles."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    assert callable(scalar) and callable(array)
    kinds = {type(np.dtype(kind)) for kind in ("?", *np.typecodes["AllInteger"], *np.typecodes["AllFloat"])}
    return [
        *(argparse.Namespace, types.SimpleNamespace, list, dict, int, float),
        (_plain_dict, "collections.defaultdict"),  # torch fills no other kinds of dictionaries and lists
        (_plain_list, "collections.deque"),
        frozenset,
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
        (scalar, "numpy.core.multiarray.scalar"),  # NumPy 1
        (scalar, "numpy._core.multiarray.scalar"),
        (array, "numpy.core.multiarray._reconstruct"),
        (array, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        *kinds,
        (pathlib.PurePosixPath, "pathlib.PosixPath"),
        (pathlib.PurePosixPath, "pathlib._local.PosixPath"),  # Python 3.13
        (pathlib.PureWindowsPath, "pathlib.WindowsPath"),
        (pathlib.PureWindowsPath, "pathlib._local.WindowsPath"),
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
