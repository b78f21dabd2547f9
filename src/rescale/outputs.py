"""The folders of models and runs: the names of their files, and whether a folder can become one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rescale.errors import UserError
from rescale.files import LOCK, check_free, check_no_file, is_temporary

NETWORK_FILE, EXTERNAL_FILE = "network.yaml", "external.json"  # a model folder holds one of them
PREPROCESS = "preprocess.json"
WEIGHTS = "model.safetensors"
RUN_FILE = "run.json"  # in the folder of a run, and in no other
RECIPE = "recipe.yaml"
DATA = "data.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"  # of a finished run
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
_BEFORE_FIRST_STEP = (
    NETWORK_FILE, EXTERNAL_FILE, PREPROCESS, RECIPE, DATA, METRICS, CHECKPOINTS, TENSORBOARD,
)  # fmt: skip


def check_new_model(folder: Path) -> None:
    """Raise UserError if a folder to write a model to holds anything.

    The files of an import that was ended before it wrote the weights do not count; they are replaced.
    """
    has_begun = (folder / PREPROCESS).is_file() and not (folder / RUN_FILE).is_file()
    check_free(folder, allowed=(NETWORK_FILE, EXTERNAL_FILE, PREPROCESS) if has_begun else ())


def check_new_run(folder: Path) -> None:
    """Raise UserError if the output folder of a run holds anything; an existing run can be resumed.

    The remains of a run that was ended at its creation do not count.
    """
    if (folder / RUN_FILE).is_file():
        raise UserError(f"{folder}: holds a run; continue it with --resume {folder}, or give another --out")
    check_no_file(folder)
    if not was_begun(folder):
        check_free(folder, allowed=(LOCK,))


def was_begun(folder: Path) -> bool:
    """Whether the folder holds nothing but the files of a run that was ended before its first step."""
    if not folder.is_dir() or (folder / RUN_FILE).exists():
        return False
    entries = [entry for entry in folder.iterdir() if entry.name != LOCK]
    names = {entry.name for entry in entries if not is_temporary(entry)}
    steps = {entry.name for entry in (folder / CHECKPOINTS).glob("step-*")}
    unused = steps <= {"step-00000000"} and not any(rows(folder / METRICS))
    return bool(entries) and names <= set(_BEFORE_FIRST_STEP) and unused


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The complete rows of a file of JSON lines; none if it does not exist."""
    if not path.is_file():
        return
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the incomplete last row of a killed process
            return
        yield row
