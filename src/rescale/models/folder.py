"""The model folder: a model, its weights and its preprocessing, as `import` and finished runs store them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rescale.errors import UserError
from rescale.files import atomic, make_folder, write_json, write_text
from rescale.lookup import network
from rescale.models.external import External, external_in
from rescale.models.make import make
from rescale.models.weights.load import digest, fitting
from rescale.models.weights.read import read_tensors
from rescale.network import Network, to_yaml
from rescale.outputs import EXTERNAL_FILE, NETWORK_FILE, PREPROCESS, RUN_FILE, WEIGHTS
from rescale.preprocess import Preprocess

_AVERAGED = "averaged"  # in the metadata of the weights


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a model: `network.yaml` or `external.json`, `model.safetensors`, `preprocess.json`.

    A finished run is also a model folder. Runs of format 1 have no `preprocess.json`.
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> "ModelFolder":
        """Open an existing folder.

        Raises:
            UserError: the folder is not a model folder (the message says what is missing), or its run has not
                finished.
        """
        if not path.is_dir():
            raise UserError(f"{path}: no such folder")
        if (path / RUN_FILE).is_file() and not (path / "result.json").is_file():
            raise UserError(f"{path}: has not finished; continue it with: rescale train --resume {path}")
        if not is_model_folder(path):
            raise UserError(f"{path}: not a model folder: it has no {NETWORK_FILE} or {EXTERNAL_FILE}")
        if not (path / WEIGHTS).is_file():
            raise UserError(f"{path}: not a model folder: it has no {WEIGHTS}")
        return cls(path)

    @property
    def model(self) -> Network | External:
        """The model that the weights belong to."""
        if (self.path / NETWORK_FILE).is_file():
            return network(self.path / NETWORK_FILE)
        return external_in(self.path)

    @property
    def preprocess(self) -> Preprocess | None:
        """How inputs are prepared; None if nothing in the folder says it."""
        if (self.path / PREPROCESS).is_file():
            return Preprocess.read(self.path / PREPROCESS)
        if (self.path / RUN_FILE).is_file():
            return preprocess_of_format_1(self.path, self.model.resolution)
        return None

    @property
    def sha256(self) -> str:
        """The hash of model.safetensors."""
        return digest(self.path)

    @property
    def averaged(self) -> bool | None:
        """Whether the weights are an average over training steps; None if unknown."""
        result = self.path / "result.json"
        if result.is_file():
            return json.loads(result.read_text()).get("averaged")
        try:
            with safe_open(self.path / WEIGHTS, "pt") as file:
                return {"true": True, "false": False}.get((file.metadata() or {}).get(_AVERAGED, ""))
        except SafetensorError as error:
            raise UserError(f"{self.path / WEIGHTS}: damaged or not safetensors: {error}") from None

    def tensors(self) -> dict[str, Tensor]:
        """The weights, by the names in the module's state dict. Raises UserError if they are damaged."""
        return read_tensors(self.path / WEIGHTS)

    def load(self) -> nn.Module:
        """The module with its weights, in evaluation mode.

        Raises:
            UserError: the weights are damaged or belong to another model.
        """
        model = self.model
        module, _ = make(model)
        weights = fitting(module, self.tensors(), model.name)
        module.load_state_dict({**module.state_dict(), **weights})
        return module.eval()


def is_model_folder(path: Path) -> bool:
    """Whether a path is a folder with a model's description; its weights may still be missing."""
    return any((path / name).is_file() for name in (NETWORK_FILE, EXTERNAL_FILE))


def write(
    path: Path,
    model: Network | External,
    state_dict: Mapping[str, Tensor],
    preprocess: Preprocess,
    averaged: bool | None = None,
) -> ModelFolder:
    """Write a model folder. Each file is written atomically, the weights last.

    Args:
        path: a folder that `rescale.outputs.check_new_model` has accepted.
        model: the model that the weights belong to.
        state_dict: of the module that `make(model)` builds.
        preprocess: how inputs are prepared.
        averaged: whether the weights are an average over training steps; None if unknown.

    Raises:
        JobError: a file cannot be written.
    """
    make_folder(path)
    write_model(path, model)
    preprocess.write(path / PREPROCESS)
    metadata = {} if averaged is None else {_AVERAGED: str(averaged).lower()}
    with atomic(path / WEIGHTS) as temporary:
        # cloned, because safetensors refuses tensors that share memory
        save_file({n: t.detach().clone().contiguous() for n, t in state_dict.items()}, temporary, metadata)
    return ModelFolder(path)


def write_model(path: Path, model: Network | External) -> None:
    """Write the model's description, `network.yaml` or `external.json`, into an existing folder."""
    if isinstance(model, Network):
        write_text(path / NETWORK_FILE, to_yaml(model))
    else:
        write_json(path / EXTERNAL_FILE, vars(model))


def preprocess_of_format_1(run: Path, resolution: int) -> Preprocess:
    """The preprocessing of a run of format 1, which has no preprocess.json, from data.json and recipe.yaml.

    Raises:
        UserError: one of the two files is missing or incomplete.
    """
    try:
        data: dict[str, Any] = json.loads((run / "data.json").read_text())
        recipe: dict[str, Any] = yaml.safe_load((run / "recipe.yaml").read_text())
        values = {
            "mean": data["mean"],
            "std": data["std"],
            "resolution": resolution,
            "crop": recipe["eval_crop"],
            "interpolation": recipe["interpolation"],
            "labels": data["classes"],
        }
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            f"{run}: its preprocessing is missing or incomplete ({type(error).__name__}: {error})"
        ) from None
    return Preprocess.from_json(values, where=str(run))
