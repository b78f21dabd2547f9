"""Runs that another study has already made: equal configuration, equal seed."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rescale.files import LOCK
from rescale.outputs import RESULT, RUN_FILE
from rescale.studies.configuration import Configuration
from rescale.studies.folder import StudyFolder

TAKEN_FROM = "taken_from.json"  # in a run that another study made


def take_over(study: StudyFolder, configurations: Mapping[str, Configuration]) -> dict[Path, int]:
    """Take finished runs of the studies beside this one into it, where they are equal to missing runs.

    Files are linked, so that they need no further space; where that is not possible they are copied. A
    finished run's files are never written again.

    Args:
        study: the study, whose plan is stored.
        configurations: what the runs of each label train.

    Returns:
        The number of runs by the study that made them.
    """
    wanted = {}
    for item in study.plan.items:
        planned = configurations.get(item.label)
        if planned and item.seed in planned.runs and not study.run(item).exists():
            wanted[planned.runs[item.seed]] = item
    taken: dict[Path, int] = {}
    for run, facts in _finished_beside(study.path) if wanted else ():
        equal = wanted.get(facts["identity"])
        if equal is None or facts.get("code", {}) != dict(configurations[equal.label].code):
            continue
        _link(run, study.run(equal))
        del wanted[facts["identity"]]
        taken[run.parent.parent] = taken.get(run.parent.parent, 0) + 1
    return taken


def _finished_beside(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The finished runs of the other studies in the same folder, with the content of their run.json."""
    for file in sorted(path.absolute().parent.glob(f"*/runs/*/{RESULT}")):
        run = file.parent
        if run.parent.parent.samefile(path):
            continue
        try:
            yield run, json.loads((run / RUN_FILE).read_text())
        except (OSError, ValueError):  # damaged, which its own study says
            continue


def _link(run: Path, to: Path) -> None:
    """Make the folder `to` hold the files of a run; it appears with its complete content."""
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(run, beside, copy_function=_link_or_copy, ignore=shutil.ignore_patterns(LOCK, ".*.part"))
    (beside / TAKEN_FROM).write_text(json.dumps({"run": str(run)}) + "\n")
    beside.rename(to)


def _link_or_copy(source: str, to: str) -> None:
    try:
        os.link(source, to)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, to)
