"""Checkpoints: the complete state of a run in open formats; synced to disk before older ones are removed."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rescale.errors import JobError
from rescale.files import sync, write_json
from rescale.training.step import Stepper

KEEP = 2  # checkpoints to keep: the newest, and one to fall back on


def save(folder: Path, stepper: Stepper, state: Mapping[str, Any]) -> None:
    """Write the state as `folder/step-N`, then remove all older checkpoints but one.

    state: values for JSON, with `step`, the number of steps taken. Raises JobError if it cannot be written;
    existing checkpoints are kept, and no partial one is left.
    """
    tensors, plain = _optimizer_state(stepper.optimizer)
    parts = {"model": stepper.model.state_dict(), "optimizer": tensors}
    if stepper.average is not None:
        parts["average"] = stepper.average.state_dict()
    final = folder / f"step-{state['step']:08d}"
    temporary = folder / f".{final.name}.part"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, part in parts.items():
            save_file(
                {key: value.contiguous() for key, value in part.items()}, temporary / f"{name}.safetensors"
            )
            sync(temporary / f"{name}.safetensors")
        hashes = {path.name: _digest(path) for path in sorted(temporary.iterdir())}
        facts = {**state, "optimizer": plain, "scaler": stepper.scaler.state_dict(), "files": hashes}
        write_json(temporary / "state.json", facts)
        shutil.rmtree(final, ignore_errors=True)
        temporary.replace(final)
        sync(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"{final}: cannot be written ({reason}); the checkpoint before it is kept") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _newest_first(folder)[KEEP:]:
        shutil.rmtree(old)


class Restored(NamedTuple):
    """The newest complete checkpoint.

    Args:
        state: content of its state.json; None if there is no checkpoint.
        parts: tensors by part (model, optimizer, average) and name.
        broken: one line for each damaged checkpoint that was skipped.
    """

    state: dict[str, Any] | None
    parts: dict[str, dict[str, Tensor]]
    broken: list[str]


def newest(folder: Path) -> Restored:
    """Read the newest complete checkpoint."""
    broken: list[str] = []
    for path in _newest_first(folder):
        try:
            state, parts = _read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            broken.append(f"{path}: damaged, not used: {reason}")
            continue
        return Restored(state, parts, broken)
    return Restored(None, {}, broken)


def load(stepper: Stepper, state: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put a checkpoint's tensors into the stepper."""
    stepper.model.load_state_dict(parts["model"])
    _load_optimizer(stepper.optimizer, parts["optimizer"], state["optimizer"])
    if stepper.average is not None:
        stepper.average.load_state_dict(parts["average"])
    stepper.scaler.load_state_dict(state["scaler"])


def _newest_first(folder: Path) -> list[Path]:
    """Checkpoints by name, the newest first; unfinished ones begin with a dot and do not match."""
    return sorted(folder.glob("step-*"), reverse=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    state = json.loads((path / "state.json").read_text())
    for name, digest in state["files"].items():
        if _digest(path / name) != digest:
            raise ValueError(f"{name} is damaged")
    return state, {Path(name).stem: load_file(path / name) for name in state["files"]}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimizer's tensors, named by parameter number and key, and its other values."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for number, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            (tensors if isinstance(value, Tensor) else plain)[f"{number}.{key}"] = value
    return tensors, plain


def _load_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Put the optimizer's state back, each tensor in its parameter's memory layout."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **plain}.items():
        number, _, key = name.partition(".")
        like = parameters[int(number)]
        if isinstance(value, Tensor) and value.shape == like.shape:
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
