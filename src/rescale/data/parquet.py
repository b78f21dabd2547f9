"""Parquet with encoded images, as the Hugging Face hub lays data sets out."""

import json
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from rescale.data.decode import rgb
from rescale.data.parts import Parts
from rescale.data.source import BadImage
from rescale.errors import UserError

IMAGE, LABEL = ("image", "img"), ("label", "labels", "fine_label", "class")  # the first column that exists
SPLITS = {"train": ("train",), "val": ("validation", "valid", "val", "test")}
_KEPT_GROUPS = 4  # row groups of encoded images that a process keeps in memory


@dataclass(frozen=True)
class Table:
    """Images in rows of Parquet files, read a row group at a time."""

    paths: tuple[Path, ...]
    column: str
    file: np.ndarray  # of each image: its file, its row group, its place in there
    group: np.ndarray
    row: np.ndarray
    labels: np.ndarray
    _kept: OrderedDict[tuple[int, int, int], Any] = field(
        default_factory=OrderedDict, compare=False, repr=False
    )

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image.Image:
        """The image at an index."""
        cell = self._group(int(self.file[index]), int(self.group[index]))[int(self.row[index])].as_py()
        encoded = cell.get("bytes") if isinstance(cell, dict) else cell
        if not encoded:
            raise BadImage(f"{self.describe(index)}: no image")
        return rgb(encoded, self.describe(index))

    def describe(self, index: int) -> str:
        """Its file and row."""
        return f"{self.paths[self.file[index]]}:group {self.group[index]} row {self.row[index]}"

    def _group(self, file: int, group: int) -> Any:
        key = (os.getpid(), file, group)
        if key not in self._kept:
            read = pq.ParquetFile(self.paths[file]).read_row_group(group, columns=[self.column])
            self._kept[key] = read.column(0)
            while len(self._kept) > _KEPT_GROUPS:
                self._kept.popitem(last=False)
        return self._kept[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}


def matches(path: Path) -> bool:
    """Are there Parquet files in it, or in its data/?"""
    return bool(_files(path))


def read(path: Path) -> Parts:
    """Read labels and the layout of the row groups; images stay in the files until they are asked for."""
    files = _files(path)
    train = [f for f in files if f.name.startswith(SPLITS["train"])]
    held: list[Path] = []
    for name in SPLITS["val"]:
        held = held or [f for f in files if f.name.startswith(name)]
    if not train and not held:
        train = files
    if not train:
        raise UserError(f"{path}: has validation files and no train-*.parquet")
    schema = _open(train[0]).schema_arrow
    image, label = _column(train[0], schema, IMAGE), _column(train[0], schema, LABEL)
    names = _class_names(schema, label)
    texts = {f: _texts(f, image, label) for f in (*train, *held)}
    if names is None:
        found = {text for part in texts.values() for text in part}
        numbers = all(text.isdigit() for text in found)
        names = [str(n) for n in range(max(map(int, found)) + 1)] if numbers else sorted(found)
    digest = {f.name: str(f.stat().st_size) for f in files}
    val = _table(held, image, texts, names) if held else None
    return Parts(_table(train, image, texts, names), val, tuple(names), files=digest)


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cut off, damaged or no Parquet file ({reason}); get it again") from None


def _column(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise UserError(f"{path}: no column {' or '.join(names)}; it has {', '.join(schema.names)}")


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Names from the hub's own description in the file, where there is one."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, ValueError, TypeError):
        return None


def _texts(path: Path, image: str, label: str) -> list[str]:
    """The labels of a file, as text."""
    file = _open(path)
    for name in (image, label):
        if name not in file.schema_arrow.names:
            raise UserError(f"{path}: no column {name}, which other files of this data have")
    try:
        found = file.read(columns=[label]).column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}); get it again") from None
    if None in found:
        raise UserError(f"{path}: row {found.index(None)} has no {label}")
    return [str(value) for value in found]


def _table(paths: list[Path], image: str, texts: dict[Path, list[str]], names: list[str]) -> Table:
    known = {name: number for number, name in enumerate(names)}
    known |= {str(number): number for number in range(len(names))}
    file, group, row, labels = [], [], [], []
    for number, path in enumerate(paths):
        metadata = _open(path).metadata
        for g in range(metadata.num_row_groups):
            rows = metadata.row_group(g).num_rows
            file += [number] * rows
            group += [g] * rows
            row += list(range(rows))
        if strange := [text for text in texts[path] if text not in known]:
            raise UserError(f"{path}: class {strange[0]!r} is not among the {len(names)} classes")
        labels += [known[text] for text in texts[path]]
    columns = [np.array(values, dtype=np.int64) for values in (file, group, row, labels)]
    return Table(tuple(paths), image, *columns)
