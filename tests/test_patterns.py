"""Patterns that stand for several files of a part: what notes and errors advise can be followed."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from data_files import refused, samples, write_parquet, write_tar
from rescale.data import DataSpec, open_data
from rescale.data.files import pattern_of
from rescale.errors import UserError


def tars(folder: Path, part: str) -> None:
    for n in range(2):
        write_tar(folder / f"{part}-{n}.tar", samples(range(6 * n, 6 * n + 6), "text"))


def tables(folder: Path, part: str) -> None:
    for n in range(2):
        write_parquet(folder / f"{part}-0000{n}-of-00002.parquet", range(6 * n, 6 * n + 6))


def stated(message: str) -> DataSpec:
    """The data that the options in a message state, as a shell reads them."""
    options = re.search(r"--(train|val) .*?(?= judges|$)", message)
    assert options is not None
    words = shlex.split(options[0])
    return DataSpec.of({word[2:]: path for word, path in zip(words[::2], words[1::2], strict=True)})


Write = Callable[[Path, str], None]
WRITERS = [tars, tables]


@pytest.mark.parametrize("write", WRITERS)
def test_the_advice_for_an_unused_part_of_several_files_is_right(write: Write, tmp_path: Path) -> None:
    where = tmp_path / "it's [here]"
    for part in ("train", "validation", "test"):
        write(where, part)
    (note,) = [note for note in open_data(where).notes if note.startswith("not used: ")]
    data = open_data(stated(note))
    assert len(data.val) == 12 and all(data.val.key(i).startswith("test-") for i in range(12))


@pytest.mark.parametrize("write", WRITERS)
def test_the_advice_for_a_part_of_an_unknown_name_is_right(write: Write, tmp_path: Path) -> None:
    """SVHN on the hub: train, test, extra."""
    for part in ("train", "test", "extra"):
        write(tmp_path, part)
    with pytest.raises(UserError, match="say what to use: ") as caught:
        open_data(tmp_path)
    data = open_data(stated(str(caught.value)))
    assert (len(data.train), len(data.val)) == (12, 12)
    assert all(data.train.key(i).startswith("train-") for i in range(12))
    assert all(data.val.key(i).startswith("test-") for i in range(12))


def test_one_file_of_several_names_them_all(tmp_path: Path) -> None:
    tables(tmp_path, "train")
    file, pattern = tmp_path / "train-00001-of-00002.parquet", f"{tmp_path}/train-*-of-00002.parquet"
    refused(
        DataSpec.of({"train": str(file)}),
        f"{file}: is one of 2 files of a part; give all of them as '{pattern}'",
    )
    data = open_data(DataSpec.of({"train": pattern}))
    assert len(data.train) + len(data.val) == 12
    (tmp_path / "train-00000-of-00002.parquet").unlink()
    refused(file, "train-00000-of-00002.parquet: missing, one of 2 files; get it again")


def test_patterns_of_a_whole_data_set_have_its_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        tars(tmp_path, part)
    data = open_data(str(tmp_path / "*.tar"))
    assert (len(data.train), len(data.val)) == (12, 12)
    assert data.digest == open_data(tmp_path).digest


def test_patterns_that_stand_for_the_wrong_files_are_refused(tmp_path: Path) -> None:
    tars(tmp_path, "test")
    both = {"train": str(tmp_path / "*.tar"), "val": str(tmp_path / "test-0.tar")}
    refused(DataSpec.of(both), f"{tmp_path}/test-0.tar is in both; give separate files")
    refused(tmp_path / "tets*.tar", "no such data")
    (tmp_path / "notes.txt").touch()
    refused(tmp_path / "*.txt", "stands for no .tar or .parquet file")


def test_a_pattern_stands_for_no_other_files(tmp_path: Path) -> None:
    zero, one, ten, other = files = [tmp_path / f"{name}.tar" for name in ("t-0", "t-1", "t-10", "other")]
    for file in files:
        file.touch()
    assert pattern_of([zero, one, ten]) == tmp_path / "t-*.tar"
    assert pattern_of([one, ten]) == tmp_path / "t-1*.tar"
    assert pattern_of(files) == tmp_path / "*.tar" and pattern_of([zero]) == zero
    assert pattern_of([zero, other]) is None and pattern_of([zero, tmp_path / "below" / "0.tar"]) is None
