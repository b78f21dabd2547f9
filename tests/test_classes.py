"""Classes of the two parts: what validation may hold follows one rule in every format."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_files import encoded, refused, write_folder, write_tar
from rescale.data import DataSpec, open_data
from rescale.errors import UserError


def folder(path: Path, labels: Sequence[Any]) -> Path:
    return write_folder(path, per_class=2, classes=tuple(map(str, labels)))


def tar(path: Path, labels: Sequence[Any]) -> Path:
    members = [(f"{n}{end}", content) for n, label in enumerate(labels)
               for end, content in ((".png", encoded(n)), (".cls", str(label).encode()))]  # fmt: skip
    return write_tar(path.with_suffix(".tar"), members)


def parquet(path: Path, labels: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded(n), "path": None} for n in range(len(labels))]
    pq.write_table(pa.table({"image": images, "label": labels}), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


Write = Callable[[Path, Any], Path]
WRITERS = [folder, tar, parquet]
DIFFERENT = [  # training, validation, the first class that only validation has
    (["cat", "dog"], ["cat", "doge"], "'doge'"), ([0, 1], [0, 1, 2, 3, 4], "'2'"),
    ([1, 2, 3], [0, 1, 2], "'0'"), ([0, 1, 2], [1, 2, 3], "'3'"),
]  # fmt: skip
DISJOINT = [(["cat", "dog"], [0, 1]), ([True, False], [1, 0]), (["Cat"], ["cat"])]


def refusal(spec: Path | DataSpec) -> str:
    with pytest.raises(UserError) as caught:
        open_data(spec)
    return caught.value.lines[0]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("train", "val", "unknown"), DIFFERENT)
def test_a_class_of_validation_alone_is_refused(
    write: Write, train: list, val: list, unknown: str, tmp_path: Path
) -> None:
    stated = {"train": str(write(tmp_path / "train", train)), "val": str(write(tmp_path / "val", val))}
    for spec in (tmp_path, DataSpec.of(stated)):
        line = refusal(spec)
        assert f"class {unknown} is in val" in line and "but not in training; " in line


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("train", "val"), DISJOINT)
def test_parts_without_a_common_class_are_refused(
    write: Write, train: list, val: list, tmp_path: Path
) -> None:
    stated = {"train": str(write(tmp_path / "train", train)), "val": str(write(tmp_path / "val", val))}
    for spec in (tmp_path, DataSpec.of(stated)):
        refused(spec, "has other classes (", ") than training (", "--train PATH")


@pytest.mark.parametrize("write", [tar, parquet])
def test_validation_may_lack_classes_and_says_so(write: Write, tmp_path: Path) -> None:
    stated = {"train": str(write(tmp_path / "train", ["a", "b", "c", "d"])),
              "val": str(write(tmp_path / "val", ["d", "b"]))}  # fmt: skip
    for spec in (tmp_path, DataSpec.of(stated)):
        data = open_data(spec)
        assert [data.classes[label] for label in data.val.strata] == ["d", "b"]
        assert "no validation images of 2 classes (a, c)" in data.notes


def test_declared_classes_are_those_of_both_parts(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("ant\nbee\ncow\n")
    tar(tmp_path / "train", [0, 1])
    tar(tmp_path / "val", [1, 2])
    data = open_data(tmp_path)
    assert data.classes == ("ant", "bee", "cow") and data.val.strata.tolist() == [1, 2]
    assert not any("no validation images" in note for note in data.notes)
