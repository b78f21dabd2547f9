"""A run is a folder: it holds all data of the run in open formats, and only one process writes to it."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescale.errors import JobError, UserError
from rescale.figure import Figure
from rescale.files import LOCK, write_json, write_text
from rescale.lookup import network
from rescale.models import External
from rescale.models.folder import ModelFolder, write_model
from rescale.network import Network
from rescale.outputs import (
    DATA,
    METRICS,
    NETWORK_FILE,
    PREPROCESS,
    RECIPE,
    RESULT,
    RUN_FILE,
    check_new_run,
    rows,
    was_begun,
)
from rescale.preprocess import Preprocess
from rescale.recipes import Recipe, Resolved, from_file
from rescale.recipes import to_yaml as recipe_to_yaml
from rescale.training.format_1 import upgraded_facts, upgraded_result

FORMAT, FORMATS = 2, (1, 2)  # the format that is written; those that are read
BEHAVIOUR = 1  # rises when a change of the code gives an equal recipe other results


@dataclass(frozen=True)
class Settings:
    """How a run is executed. Stored with it and used again on resume; none changes what is trained.

    threads: CPU threads, 0 for all cores; workers: processes that load images. Both are per process; under
    torchrun, threads 0 divides the cores among the processes. save_minutes: minutes between checkpoints.
    eval_epochs: epochs between evaluations; the last epoch always has one. log_steps: steps between rows of
    training metrics, 0 for ten rows per epoch. fast: an `ExecutionMode` as text; fast_because: why it was
    chosen. sync_bn: batch norm uses the images of all processes, not only its own.
    """

    device: str = "cpu"
    threads: int = 0
    workers: int = 0
    save_minutes: float = 2.0
    eval_epochs: int = 1
    log_steps: int = 0
    on_bad_image: str = "raise"
    fast: str = "channels_last"
    fast_because: str = ""
    sync_bn: bool = False


@dataclass(frozen=True)
class Run:
    """A run folder; when finished, it is also a `ModelFolder`.

    It holds network.yaml or external.json, preprocess.json, recipe.yaml, run.json, data.json, metrics.jsonl,
    checkpoints/, tensorboard/ and, when finished, model.safetensors, result.json and predictions.parquet.

    Args:
        path: the folder. It is not read here; `Run.open` checks that it is a run.
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Open an existing run. Raises UserError if the folder is none."""
        if not (path / RUN_FILE).is_file():
            if was_begun(path):
                raise UserError(
                    f"{path}: its run was ended before the first step; start it again with --out {path}"
                )
            raise UserError(f"{path}: no run is here (a run folder holds {RUN_FILE})")
        return cls(path)

    @classmethod
    def create(
        cls,
        path: Path,
        model: Network | External,
        resolved: Resolved,
        data: Mapping[str, Any],
        preprocess: Preprocess,
    ) -> "Run":
        """Write the files of a new run into a folder that exists; `mark` then makes it a run.

        The remains of a run that was ended at its creation are removed. Raises UserError if the folder holds
        anything else.
        """
        check_new_run(path)
        _remove_begun(path, model)
        run = cls(path)
        write_model(path, model)
        preprocess.write(path / PREPROCESS)
        write_text(path / RECIPE, recipe_to_yaml(resolved.recipe, resolved.sources))
        write_json(path / DATA, data)
        return run

    def mark(self, facts: Mapping[str, Any]) -> None:
        """Write run.json; with it the folder is a run, which can be resumed."""
        write_json(self.path / RUN_FILE, facts)

    @property
    def facts(self) -> dict[str, Any]:
        """Seed, task, data, settings and versions, as written when the run was started."""
        return upgraded_facts(json.loads((self.path / RUN_FILE).read_text()))

    @property
    def model(self) -> Network | External:
        """The model that is trained."""
        return ModelFolder(self.path).model

    @property
    def preprocess(self) -> Preprocess:
        """How images are prepared, and what the outputs mean."""
        preprocess = ModelFolder(self.path).preprocess
        assert preprocess is not None  # a run has one
        return preprocess

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe. Runs of versions that turned no images have the orientation `stored`."""
        recipe = from_file(self.path / RECIPE)
        return recipe.model_copy(update={"orientation": self.preprocess.orientation})

    @property
    def data(self) -> dict[str, Any]:
        """The data's manifest."""
        return json.loads((self.path / DATA).read_text())

    @property
    def headline(self) -> Figure:
        """The main figure of the run."""
        return Figure(**self.facts["headline"])

    @property
    def result(self) -> dict[str, Any] | None:
        """The final figures; None for a run that has not finished."""
        path = self.path / RESULT
        return upgraded_result(json.loads(path.read_text())) if path.is_file() else None

    def metrics(self) -> list[dict[str, Any]]:
        """All complete rows of metrics.jsonl."""
        return list(rows(self.path / METRICS))

    def rewind(self, step: int, evaluated: int) -> None:
        """Drop the rows after `step` and after `evaluated` epochs: they will be written again."""
        rows = [
            row
            for row in self.metrics()
            if row["step"] <= step and (row["kind"] == "train" or row["epoch"] <= evaluated)
        ]
        write_text(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows))

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl."""
        try:
            with (self.path / METRICS).open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise JobError(f"{self.path}: metrics cannot be written ({error.strerror})") from error


def _remove_begun(path: Path, model: Network | External) -> None:
    """Remove what `was_begun` accepts. Raises UserError if it may be a network file of the user's."""
    entries = [entry for entry in path.iterdir() if entry.name != LOCK]
    if [entry.name for entry in entries] == [NETWORK_FILE] and network(path / NETWORK_FILE) != model:
        raise UserError(f"{path}: holds the {NETWORK_FILE} of another network; give another --out")
    for entry in entries:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
