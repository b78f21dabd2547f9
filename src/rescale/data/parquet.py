"""Parquet files with encoded images, in the layout of the Hugging Face hub."""

import glob
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rescale.data.files import as_argument, is_hidden_below, matching
from rescale.data.labels import Label, are_missing, as_label, class_table, declared_names
from rescale.data.parts import Files, described, files_by_part, passed_over
from rescale.data.raw import InFiles, RawDataset
from rescale.data.source import BadImage
from rescale.errors import UserError, first_few, plural
from rescale.preprocess import USUAL_DECODING, Decoding

IMAGE, LABEL = (
    ("image", "img"),
    ("label", "labels", "fine_label", "class"),
)  # the first column that exists is used
_CACHE_BYTES = 256 << 20  # encoded images that a process caches, in whole row groups


@dataclass(frozen=True)
class Table(InFiles):
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
        return f"{self.file_names[self.file[index]]}:{self.group[index]}:{self.row[index]}"

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
    """Whether the path is a Parquet file, a pattern of some, or a folder that holds some."""
    return bool(files(path))


def is_usable(path: Path) -> bool:
    """Whether a file holds images and labels, unlike a table of facts about images that lie elsewhere."""
    return any(_has_images(file) for file in files(path))


def contents(path: Path) -> str:
    """The Parquet files in a few words."""
    return described(path if path.is_dir() else path.parent, files(path))


def read(path: Path) -> RawDataset:
    """Read the labels and the layout of the row groups. Images are read when they are needed.

    Parts are recognised by the names of files and folders. Class names come from the hub's metadata in the
    files or from classes.txt; without them `class_table` decides whether labels are names or numbers. Tables
    without images beside tables with images are passed over.

    Raises:
        UserError: a file is missing, damaged or has no image or label column; the files differ in their
            classes; a label is missing or is no label; a declared class has no training images.
    """
    tables, others, notes = _tables(path)
    parts = files_by_part(path, tables, _has_labels)
    parts = replace(parts, unread=(*others, *parts.unread), notes=(*notes, *parts.notes))
    return _read(path, parts, declared_names(path))


def read_part(path: Path) -> RawDataset:
    """Read all files as one part, whatever their names are. classes.txt may lie in the folder or beside it.

    Raises:
        UserError: as `read`.
    """
    tables, others, notes = _tables(path)
    parts = Files(tuple(tables), unread=tuple(others), notes=tuple(notes))
    return _read(path, parts, declared_names(path, path.parent))


def _read(path: Path, parts: Files, names: tuple[str, ...]) -> RawDataset:
    train, val = parts.train, parts.val
    _check_complete(*train, *val)
    schemas = {file: _open(file).schema_arrow for file in (*train, *val)}
    image, label = (_column(train[0], schemas[train[0]], columns) for columns in (IMAGE, LABEL))
    declared = _declared(schemas, label)
    labels = {file: _labels(file, schema, image, label) for file, schema in schemas.items()}
    first: dict[Label, str] = {}
    for file, values in labels.items():
        for row, value in enumerate(values):
            if value not in first:
                first[value] = f"{file}: row {row}"
    table = class_table(path, first, declared or names)
    numbers = {
        file: np.array([table.numbers[value] for value in values], dtype=np.int64)
        for file, values in labels.items()
    }
    if declared:
        _check_classes_present(path, declared, {int(n) for file in train for n in np.unique(numbers[file])})
    digests = {file.name: _digest(file) for file in schemas}
    val_table = _table(val, image, numbers) if val else None
    notes = (*parts.notes, *table.notes)
    return RawDataset(
        _table(train, image, numbers),
        val_table,
        table.classes,
        files=digests,
        notes=notes,
        declared=table.declared,
        unread=parts.unread,
    )


def files(path: Path) -> list[Path]:
    """The Parquet files of a file, a pattern or a folder, at most two levels further down."""
    if not path.is_dir():
        return matching(path, ".parquet")
    tables = (file for deep in range(3) for file in sorted(path.glob(f"{'*/' * deep}*.parquet")))
    return [file for file in tables if not is_hidden_below(path, file)]


def _tables(path: Path) -> tuple[list[Path], list[Path], list[str]]:
    """The files of the first level that has tables with images, the other files, and one line about them."""
    tables = files(path)
    levels: dict[int, list[Path]] = {}
    for file in tables:
        levels.setdefault(len(file.parts), []).append(file)
    for level in sorted(levels):
        chosen = [file for file in levels[level] if len(tables) == 1 or _has_images(file)]
        if chosen:
            others = [file for file in tables if file not in set(chosen)]
            return chosen, others, [passed_over(described(path, others))] if others else []
    return levels[min(levels)], [], []  # its error says what is missing


def _has_labels(file: Path) -> bool:
    """Whether a file has labels: the hub's tables for tests lack them, or have null or -1 in their place."""
    opened = _open(file)
    column = next((name for name in LABEL if name in opened.schema_arrow.names), None)
    if column is None:
        return False
    try:
        values = opened.read(columns=[column]).column(0).unique().to_pylist()
    except (pa.ArrowException, OSError):
        return True  # reported when all labels are read
    return not are_missing(values)


def _has_images(file: Path) -> bool:
    """Whether a file has a column of images, or cannot be read, which is reported when it is opened."""
    try:
        with pq.ParquetFile(file) as opened:
            return any(name in opened.schema_arrow.names for name in IMAGE)
    except (pa.ArrowException, OSError):
        return True


def _check_complete(*files: Path) -> None:
    """Names such as train-00000-of-00002 give the number of files of a part; all of them must be there."""
    for file in files:
        if counted := re.fullmatch(r"(.*)-(\d+)-of-(\d+)", file.stem):
            part, number, count = counted.groups()
            for n in range(int(count)):
                expected = file.with_name(f"{part}-{n:0{len(number)}d}-of-{count}.parquet")
                if expected in files:
                    continue
                if not expected.is_file():
                    raise UserError(f"{expected}: missing, one of {int(count)} files; get it again")
                every = file.with_name(f"{glob.escape(part)}-*-of-{count}.parquet")
                raise UserError(
                    f"{file}: is one of {int(count)} files of a part; give all of them as "
                    f"{as_argument(every)}"
                )


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
            both = names[first], names[file]
            raise UserError(f"{file}: its classes differ from those of {first.name}; {_difference(*both)}")
    return names[first]


def _difference(theirs: tuple[str, ...], ours: tuple[str, ...]) -> str:
    """How two different lists of names differ, in words."""
    if not theirs or not ours:
        return "only one of the two declares names"
    if unshared := sorted(set(theirs) ^ set(ours)):
        return f"not in both: {first_few([name or repr(name) for name in unshared])}"
    if len(theirs) == len(ours):
        return "their order differs"
    return f"{plural(len(ours), 'name')}, not {len(theirs)}"


def _class_label(schema: pa.Schema, label: str) -> tuple[str, ...]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (LookupError, ValueError, TypeError):
        return ()


def _labels(path: Path, schema: pa.Schema, image: str, label: str) -> list[Label]:
    """The labels of a file, one for each row."""
    for name in (image, label):
        if name not in schema.names:
            raise UserError(
                f"{path}: no column {name}, unlike the other files of this data set; get it again"
            )
    try:
        column = _open(path).read(columns=[label]).column(0)
        values = column.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged ({_first_line(error)}); get it again") from None
    if pa.types.is_integer(column.type) and not column.null_count:
        return values
    return [as_label(value, f"{path}: row {row}") for row, value in enumerate(values)]


def _check_classes_present(path: Path, classes: tuple[str, ...], present: set[int]) -> None:
    empty = [repr(name) for number, name in enumerate(classes) if number not in present]
    if empty:
        raise UserError(
            f"{path}: no training images of class {first_few(empty)}, which the files' metadata declares"
        )


def _table(paths: Sequence[Path], image: str, numbers: dict[Path, np.ndarray]) -> Table:
    locations = []
    for file_number, path in enumerate(paths):
        metadata = _open(path).metadata
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            locations.append(np.stack([np.full(rows, file_number), np.full(rows, group), np.arange(rows)]))
    file, group, row = np.concatenate(locations, axis=1).astype(np.int64)
    labels = np.concatenate([numbers[path] for path in paths])
    return Table(tuple(paths), image, file, group, row, labels)


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
