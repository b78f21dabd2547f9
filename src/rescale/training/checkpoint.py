"""Checkpoints: the whole state of a run in open formats, durable before the old one goes."""

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

KEEP = 2  # checkpoints that stay: the newest, and one to fall back on


def save(folder: Path, stepper: Stepper, state: Mapping[str, Any]) -> None:
    """Write the state as `folder/step-N`; older ones but one go once this is durable.

    state: JSON-able facts, with `step`, the number of steps taken. Raises JobError where it cannot be
    written; what was there stays, and nothing half-written is left.
    """
    tensors, plain = _optimizer_state(stepper.optimizer)
    parts = {"model": stepper.model.state_dict(), "optimizer": tensors}
    if stepper.average is not None:
        parts["average"] = stepper.average.state_dict()
    final = folder / f"step-{state['step']:08d}"
    beside = folder / f".{final.name}.part"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name, part in parts.items():
            save_file(
                {key: value.contiguous() for key, value in part.items()}, beside / f"{name}.safetensors"
            )
            sync(beside / f"{name}.safetensors")
        hashes = {path.name: _digest(path) for path in sorted(beside.iterdir())}
        facts = {**state, "optimizer": plain, "scaler": stepper.scaler.state_dict(), "files": hashes}
        write_json(beside / "state.json", facts)
        shutil.rmtree(final, ignore_errors=True)
        beside.replace(final)
        sync(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"{final}: cannot be written ({reason}); the checkpoint before it is kept") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    for old in _newest_first(folder)[KEEP:]:
        shutil.rmtree(old)


class Restored(NamedTuple):
    """The newest whole checkpoint, as it was read.

    Args:
        state: its state.json; None where there is no checkpoint.
        parts: tensors by part (model, optimizer, average) and name.
        broken: one line for each damaged checkpoint that was passed over.
    """

    state: dict[str, Any] | None
    parts: dict[str, dict[str, Tensor]]
    broken: list[str]


def newest(folder: Path) -> Restored:
    """Read the newest whole checkpoint."""
    broken: list[str] = []
    for path in _newest_first(folder):
        try:
            state, parts = _read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            broken.append(f"{path}: passed over, {' '.join(str(error).split()) or type(error).__name__}")
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
    """The optimizer's tensors, named by parameter number and key, and what else it holds."""
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
