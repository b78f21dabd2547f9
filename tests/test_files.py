"""Files are written whole or not at all; nothing is left of killed writers; names need not be text."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_files import samples, write_folder, write_tar
from rescale.data import open_data, shard_index
from rescale.errors import JobError, UserError
from rescale.files import atomic, check_free, locked, printable, write_json, write_text
from rescale.training.predictions import read_predictions, write_predictions


def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def full(*_) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, monkeypatch) -> None:
    write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JobError, match=r"a\.txt: cannot be written \(No space left on device\)"):
        write_text(tmp_path / "a.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_index_of_a_shard_leaves_nothing_on_a_full_disk(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shard = write_tar(tmp_path / "data" / "a.tar", samples(range(3)))
    monkeypatch.setattr(os, "fsync", full)
    assert len(shard_index.index(shard).rows) == 3
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.tar"]


def test_what_killed_writers_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed, alive = tmp_path / f".a.txt.{dead()}.part", tmp_path / ".a.txt.1.part"  # 1: init
    other = tmp_path / f".b.txt.{dead()}.part"
    for path in (killed, alive, other):
        path.touch()
    write_text(tmp_path / "a.txt", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", alive.name, other.name}


def test_what_killed_writers_left_is_removed_when_a_folder_is_locked(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".step-00000004.part").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".step-00000004.part" / "model.safetensors").touch()
    (tmp_path / ".result.json.77.part").touch()
    write_json(tmp_path / "run.json", {})
    with locked(tmp_path):
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {".lock", "run.json", "checkpoints"}


def test_a_folder_with_nothing_but_what_killed_writers_left_is_free(tmp_path: Path) -> None:
    (tmp_path / ".plan.yaml.77.part").touch()
    check_free(tmp_path)
    (tmp_path / "plan.yaml").touch()
    check_free(tmp_path, allowed=("plan.yaml",))
    with pytest.raises(UserError, match="is not empty"):
        check_free(tmp_path)


def test_a_folder_that_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="absent: cannot be written to"), locked(tmp_path / "absent"):
        pass


def test_a_name_with_brackets(tmp_path: Path) -> None:
    with atomic(tmp_path / "[a].txt") as temporary:
        temporary.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["[a].txt"]


def test_bytes_of_names_become_escapes() -> None:
    assert printable("caf\udce9 [\u00fc] \ud800") == "caf\\xe9 [\u00fc] \\ud800"
    name = b"caf\xe9".decode(errors="surrogateescape")
    assert printable(name) == "caf\\xe9"
    assert printable("plain \u25cf") == "plain \u25cf"


def test_text_with_such_a_name_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "caf\udce9 \u25cf")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "caf\\xe9 \u25cf"


def test_keys_of_predictions_are_text(tmp_path: Path) -> None:
    data = open_data(write_folder(tmp_path / "data", classes=("caf\udce9", "tea")))
    write_predictions(tmp_path / "p.parquet", data.train, {"index": np.array([0])})
    (key,) = read_predictions(tmp_path / "p.parquet")["key"]
    assert key == "caf\\xe9/0000.png"
