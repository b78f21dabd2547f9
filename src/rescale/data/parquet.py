"""Parquet files with encoded images, in the layout of the Hugging Face hub."""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rescale.data.files import is_hidden
from rescale.data.raw import Encoded, RawDataset, class_names, label_numbers
from rescale.data.source import BadImage
from rescale.errors import UserError, first_few
from rescale.preprocess import USUAL_DECODING, Decoding

IMAGE, LABEL = (
    ("image", "img"),
    ("label", "labels", "fine_label", "class"),
)  # the first column that exists is used
TRAIN, VAL = "train", ("validation", "valid", "val", "test")  # prefixes of file or folder names
_CACHE_BYTES = 256 << 20  # encoded images that a process caches, in whole row groups


@dataclass(frozen=True)
class Table(Encoded):
    """A source of images in rows of Parquet files, read one row group at a time.

    Args:
        paths: the files.
        column: name of the column with the images.
        file, group, row: int64 [N]; for each image the index of its file, its row group in that file and its
            row in that group.
        labels: int64 [N], class numbers.
        decoding: how the images become pixels.
    """

    paths: tuple[Path, ...]
    column: str
    file: np.ndarray
    group: np.ndarray
    row: np.ndarray
    labels: np.ndarray
    decoding: Decoding = USUAL_DECODING
    _cache: OrderedDict[tuple[int, int], pa.ChunkedArray] = field(
        default_factory=OrderedDict, compare=False, repr=False
    )

    def __len__(self) -> int:
        return len(self.labels)

    neighbours = 8  # a row group is read as a whole

    def encoded(self, index: int) -> bytes:
        """The bytes of the image."""
        where = self.describe(index)
        try:
            cell = self._group(int(self.file[index]), int(self.group[index]))[int(self.row[index])].as_py()
        except (pa.ArrowException, OSError) as error:
            raise BadImage(f"{where}: its row group cannot be read ({_first_line(error)})") from None
        encoded = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(encoded, bytes):
            raise BadImage(f"{where}: no image bytes in column {self.column}")
        return encoded

    def describe(self, index: int) -> str:
        """File, row group and row of the image."""
        return f"{self.paths[self.file[index]]}:group {self.group[index]} row {self.row[index]}"

    def key(self, index: int) -> str:
        """Name of the file, row group and row of the image."""
        return f"{self.paths[self.file[index]].name}:{self.group[index]}:{self.row[index]}"

    def locations(self) -> Iterator[str]:
        """The paths of the files."""
        return map(str, self.paths)

    def _group(self, file: int, group: int) -> pa.ChunkedArray:
        images = self._cache.get((file, group))
        if images is None:
            with pq.ParquetFile(self.paths[file]) as opened:
                images = opened.read_row_group(group, columns=[self.column]).column(0)
            self._cache[file, group] = images
            while len(self._cache) > 1 and sum(held.nbytes for held in self._cache.values()) > _CACHE_BYTES:
                self._cache.popitem(last=False)
        return images

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict()}


def matches(path: Path) -> bool:
    """Whether the path is a Parquet file or a folder with Parquet files, at most two levels further down."""
    return bool(_files(path))


def read(path: Path) -> RawDataset:
    """Read the labels and the layout of the row groups. Images are read when they are needed.

    Class names come from the hub's metadata in the files, otherwise from the labels.

    Raises:
        UserError: a file is missing, damaged or has no image or label column; the files differ in their
            classes; a declared class has no training images.
    """
    train, val = _parts(path)
    _check_complete(*train, *val)
    schemas = {file: _open(file).schema_arrow for file in (*train, *val)}
    image, label = (_column(train[0], schemas[train[0]], names) for names in (IMAGE, LABEL))
    declared = _declared(schemas, label)
    texts = {file: _texts(file, schema, image, label) for file, schema in schemas.items()}
    classes = declared or class_names(str(path), {text for labels in texts.values() for text in labels})
    if declared:
        _check_classes_present(path, declared, {text for file in train for text in texts[file]})
    files = {file.name: _digest(file) for file in schemas}
    val_table = _table(val, image, texts, classes) if val else None
    return RawDataset(_table(train, image, texts, classes), val_table, classes, files=files)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    levels = (sorted(path.glob(f"{'*/' * deep}*.parquet")) for deep in range(3))
    visible = ([file for file in files if not _is_hidden(file, path)] for files in levels)
    return next(filter(None, visible), [])


def _is_hidden(file: Path, root: Path) -> bool:
    return any(map(is_hidden, file.relative_to(root).parts))


def _parts(path: Path) -> tuple[list[Path], list[Path]]:
    """Training and validation files. If no name contains a part, all files are training files."""
    files = _files(path)

    def named(part: str) -> list[Path]:
        below = {file: file.relative_to(path).parts if path.is_dir() else () for file in files}
        return [file for file in files if any(step.startswith(part) for step in below[file])]

    train = named(TRAIN)
    val = next(filter(None, map(named, VAL)), [])
    if not train and not val:
        return files, []
    if not train:
        raise UserError(f"{path}: has {val[0].name} but no {TRAIN}-*.parquet; add the training files")
    return train, val


def _check_complete(*files: Path) -> None:
    """Names such as train-00000-of-00002 give the number of files of a part; all of them must be there."""
    for file in files:
        if counted := re.fullmatch(r"(.*)-(\d+)-of-(\d+)", file.stem):
            part, number, count = counted.groups()
            for n in range(int(count)):
                expected = file.with_name(f"{part}-{n:0{len(number)}d}-of-{count}.parquet")
                if expected not in files:
                    raise UserError(f"{expected}: missing, one of {int(count)} files; get it again")


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: truncated, damaged or not a Parquet file ({_first_line(error)}); get it again"
        ) from None


def _column(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise UserError(f"{path}: no column {' or '.join(names)}; its columns are {', '.join(schema.names)}")


def _declared(schemas: dict[Path, pa.Schema], label: str) -> tuple[str, ...]:
    """The class names in the files' hub metadata, which must be the same in all files; () for none."""
    names = {file: _class_label(schema, label) for file, schema in schemas.items()}
    first, *rest = names
    for file in rest:
        if names[file] != names[first]:
            unshared = sorted(set(names[first]) ^ set(names[file]))
            which = f"not in both: {', '.join(unshared[:5])}" if unshared else "their order differs"
            raise UserError(f"{file}: its classes differ from those of {first.name}; {which}")
    return names[first]


def _class_label(schema: pa.Schema, label: str) -> tuple[str, ...]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (LookupError, ValueError, TypeError):
        return ()


def _texts(path: Path, schema: pa.Schema, image: str, label: str) -> list[str]:
    """The labels of a file as text, one for each row."""
    for name in (image, label):
        if name not in schema.names:
            raise UserError(
                f"{path}: no column {name}, unlike the other files of this data set; get it again"
            )
    try:
        values = _open(path).read(columns=[label]).column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged ({_first_line(error)}); get it again") from None
    if None in values:
        raise UserError(f"{path}: row {values.index(None)} has no {label}; add it or remove the row")
    return [str(value) for value in values]


def _check_classes_present(path: Path, classes: tuple[str, ...], present: set[str]) -> None:
    empty = [repr(name) for number, name in enumerate(classes) if not {name, str(number)} & present]
    if empty:
        raise UserError(
            f"{path}: no training images of class {first_few(empty)}, which the files' metadata declares"
        )


def _table(paths: list[Path], image: str, texts: dict[Path, list[str]], classes: tuple[str, ...]) -> Table:
    numbers = label_numbers(classes)
    locations, labels = [], []
    for file_number, path in enumerate(paths):
        if unknown := [text for text in texts[path] if text not in numbers]:
            raise UserError(f"{path}: class {unknown[0]!r} is not among the {len(classes)} classes")
        labels += [numbers[text] for text in texts[path]]
        metadata = _open(path).metadata
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            locations.append(np.stack([np.full(rows, file_number), np.full(rows, group), np.arange(rows)]))
    file, group, row = np.concatenate(locations, axis=1).astype(np.int64)
    return Table(tuple(paths), image, file, group, row, np.array(labels, dtype=np.int64))


def _digest(path: Path) -> str:
    """Hash of a file's size and its footer, which holds the sizes and statistics of all columns."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(-8, 2)
        footer = int.from_bytes(file.read(4), "little")
        file.seek(-min(size, footer + 8), 2)
        return hashlib.sha256(f"{size} ".encode() + file.read()).hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
