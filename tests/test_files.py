"""Text files and names: names of files need not be text."""

from pathlib import Path

import numpy as np

from data_files import write_folder
from rescale.data import open_data
from rescale.files import printable, write_text
from rescale.training.predictions import read_predictions, write_predictions


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
