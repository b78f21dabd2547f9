"""Parquet with encoded images, as the Hugging Face hub lays data sets out."""

import hashlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rescale.data.decode import rgb
from rescale.data.raw import Classified, RawDataset, class_names, label_numbers
from rescale.data.source import BadImage, LazyImage
from rescale.errors import UserError

IMAGE, LABEL = ("image", "img"), ("label", "labels", "fine_label", "class")  # the first column that exists
TRAIN, VAL = "train", ("validation", "valid", "val", "test")  # beginnings of a file's name, or its folder's
_KEPT_BYTES = 256 << 20  # of encoded images that a process keeps in memory, by whole row groups


@dataclass(frozen=True)
class Table(Classified):
    """Images in rows of Parquet files, read a row group at a time: int64 [N] each, but for the files."""

    paths: tuple[Path, ...]
    column: str
    file: np.ndarray  # of each image: its file, its row group, its place in there
    group: np.ndarray
    row: np.ndarray
    labels: np.ndarray
    _kept: OrderedDict[tuple[int, int], pa.ChunkedArray] = field(
        default_factory=OrderedDict, compare=False, repr=False
    )

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> LazyImage:
        """The image at an index."""
        where = self.describe(index)
        try:
            cell = self._group(int(self.file[index]), int(self.group[index]))[int(self.row[index])].as_py()
        except (pa.ArrowException, OSError) as error:
            raise BadImage(f"{where}: its row group cannot be read ({_first_line(error)})") from None
        encoded = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(encoded, bytes):
            raise BadImage(f"{where}: no bytes of an image in column {self.column}")
        return rgb(encoded, where)

    def describe(self, index: int) -> str:
        """Its file, row group and row in there."""
        return f"{self.paths[self.file[index]]}:group {self.group[index]} row {self.row[index]}"

    def key(self, index: int) -> str:
        """Its file's name and place in there."""
        return f"{self.paths[self.file[index]].name}:{self.group[index]}:{self.row[index]}"

    def _group(self, file: int, group: int) -> pa.ChunkedArray:
        kept = self._kept.get((file, group))
        if kept is None:
            with pq.ParquetFile(self.paths[file]) as opened:
                kept = opened.read_row_group(group, columns=[self.column]).column(0)
            self._kept[file, group] = kept
            while len(self._kept) > 1 and sum(held.nbytes for held in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return kept

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}


def matches(path: Path) -> bool:
    """Is it a Parquet file, or are there such in it or at most two folders further down?"""
    return bool(_files(path))


def read(path: Path) -> RawDataset:
    """Read labels and the layout of the row groups; images stay in the files until they are asked for.

    Classes are those that the hub's own description in the files names, else what the labels say.
    """
    train, held = _parts(path)
    _check_none_missing(*train, *held)
    schemas = {file: _open(file).schema_arrow for file in (*train, *held)}
    image, label = (_column(train[0], schemas[train[0]], names) for names in (IMAGE, LABEL))
    declared = _declared(schemas, label)
    texts = {file: _texts(file, schema, image, label) for file, schema in schemas.items()}
    classes = declared or class_names(str(path), {text for found in texts.values() for text in found})
    if declared:
        _check_none_empty(path, declared, {text for file in train for text in texts[file]})
    files = {file.name: _digest(file) for file in schemas}
    val = _table(held, image, texts, classes) if held else None
    return RawDataset(_table(train, image, texts, classes), val, classes, files=files)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    return next(filter(None, (sorted(path.glob(f"{'*/' * deep}*.parquet")) for deep in range(3))), [])


def _parts(path: Path) -> tuple[list[Path], list[Path]]:
    """Training and validation files; files that no name assigns are for training, where no others are."""
    files = _files(path)

    def named(part: str) -> list[Path]:
        below = {file: file.relative_to(path).parts if path.is_dir() else () for file in files}
        return [file for file in files if any(step.startswith(part) for step in below[file])]

    train = named(TRAIN)
    val = next(filter(None, map(named, VAL)), [])
    if not train and not val:
        return files, []
    if not train:
        raise UserError(f"{path}: has {val[0].name} and no {TRAIN}-*.parquet")
    return train, val


def _check_none_missing(*files: Path) -> None:
    """Names such as train-00000-of-00002 tell how many there are."""
    for file in files:
        if counted := re.fullmatch(r"(.*)-(\d+)-of-(\d+)", file.stem):
            part, number, count = counted.groups()
            for n in range(int(count)):
                other = file.with_name(f"{part}-{n:0{len(number)}d}-of-{count}.parquet")
                if other not in files:
                    raise UserError(f"{other}: missing, one of {int(count)}; get it again")


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: cut off, damaged or no Parquet file ({_first_line(error)}); get it again"
        ) from None


def _column(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise UserError(f"{path}: no column {' or '.join(names)}; it has {', '.join(schema.names)}")


def _declared(schemas: dict[Path, pa.Schema], label: str) -> tuple[str, ...]:
    """The class names that the files' description for the hub has, in which all must agree; () for none."""
    found = {file: _class_label(schema, label) for file, schema in schemas.items()}
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            strange = sorted(set(found[first]) ^ set(found[other]))
            which = f"not in both: {', '.join(strange[:5])}" if strange else "in another order"
            raise UserError(f"{other}: its classes are not those of {first.name}; {which}")
    return found[first]


def _class_label(schema: pa.Schema, label: str) -> tuple[str, ...]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (LookupError, ValueError, TypeError):
        return ()


def _texts(path: Path, schema: pa.Schema, image: str, label: str) -> list[str]:
    """The labels of a file, as text."""
    for name in (image, label):
        if name not in schema.names:
            raise UserError(f"{path}: no column {name}, which other files of this data have")
    try:
        found = _open(path).read(columns=[label]).column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged ({_first_line(error)}); get it again") from None
    if None in found:
        raise UserError(f"{path}: row {found.index(None)} has no {label}")
    return [str(value) for value in found]


def _check_none_empty(path: Path, classes: tuple[str, ...], present: set[str]) -> None:
    empty = [name for number, name in enumerate(classes) if not {name, str(number)} & present]
    if empty:
        which = ", ".join(map(repr, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise UserError(f"{path}: no training images of class {which}, which the files' description names")


def _table(paths: list[Path], image: str, texts: dict[Path, list[str]], classes: tuple[str, ...]) -> Table:
    known = label_numbers(classes)
    places, labels = [], []
    for number, path in enumerate(paths):
        if strange := [text for text in texts[path] if text not in known]:
            raise UserError(f"{path}: class {strange[0]!r} is not among the {len(classes)} classes")
        labels += [known[text] for text in texts[path]]
        metadata = _open(path).metadata
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            places.append(np.stack([np.full(rows, number), np.full(rows, group), np.arange(rows)]))
    file, group, row = np.concatenate(places, axis=1).astype(np.int64)
    return Table(tuple(paths), image, file, group, row, np.array(labels, dtype=np.int64))


def _digest(path: Path) -> str:
    """Of a file's size and its footer, where the sizes and statistics of all its columns stand."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(-8, 2)
        footer = int.from_bytes(file.read(4), "little")
        file.seek(-min(size, footer + 8), 2)
        return hashlib.sha256(f"{size} ".encode() + file.read()).hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
