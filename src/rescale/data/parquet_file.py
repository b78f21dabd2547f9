"""What a Parquet file holds: its columns, class names and labels, and its images as a source."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rescale.data.labels import Label, are_missing, as_label
from rescale.data.raw import InFiles
from rescale.data.source import BadImage
from rescale.errors import UserError, first_line
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
            raise BadImage(f"{where}: its row group cannot be read ({first_line(error)})") from None
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


def has_labels(file: Path) -> bool:
    """Whether a file has labels: the hub's tables for tests lack them, or have null or -1 in their place."""
    opened = opened_file(file)
    column = next((name for name in LABEL if name in opened.schema_arrow.names), None)
    if column is None:
        return False
    try:
        values = opened.read(columns=[column]).column(0).unique().to_pylist()
    except (pa.ArrowException, OSError):
        return True  # reported when all labels are read
    return not are_missing(values)


def has_images(file: Path) -> bool:
    """Whether a file has a column of images, or cannot be read, which is reported when it is opened."""
    try:
        with pq.ParquetFile(file) as opened:
            return any(name in opened.schema_arrow.names for name in IMAGE)
    except (pa.ArrowException, OSError):
        return True


def opened_file(path: Path) -> pq.ParquetFile:
    """Open a file; raises UserError if it is no Parquet file or damaged."""
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: truncated, damaged or not a Parquet file ({first_line(error)}); get it again"
        ) from None


def column_of(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    """The first of the names that is a column; raises UserError if none is."""
    for name in names:
        if name in schema.names:
            return name
    raise UserError(f"{path}: no column {' or '.join(names)}; its columns are {', '.join(schema.names)}")


def class_label(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The class names of a column in the hub's metadata; () for none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (LookupError, ValueError, TypeError):
        return ()


def labels_of(path: Path, schema: pa.Schema, image: str, label: str) -> list[Label]:
    """The labels of a file, one for each row."""
    for name in (image, label):
        if name not in schema.names:
            raise UserError(
                f"{path}: no column {name}, unlike the other files of this data set; get it again"
            )
    try:
        column = opened_file(path).read(columns=[label]).column(0)
        values = column.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged ({first_line(error)}); get it again") from None
    if pa.types.is_integer(column.type) and not column.null_count:
        return values
    return [as_label(value, f"{path}: row {row}") for row, value in enumerate(values)]


def table_of(paths: Sequence[Path], image: str, numbers: dict[Path, np.ndarray]) -> Table:
    """The source of the images of several files. image: its column. numbers: of the classes, by file."""
    locations = []
    for file_number, path in enumerate(paths):
        metadata = opened_file(path).metadata
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            locations.append(np.stack([np.full(rows, file_number), np.full(rows, group), np.arange(rows)]))
    file, group, row = np.concatenate(locations, axis=1).astype(np.int64)
    labels = np.concatenate([numbers[path] for path in paths])
    return Table(tuple(paths), image, file, group, row, labels)


def digest(path: Path) -> str:
    """Hash of a file's size and its footer, which holds the sizes and statistics of all columns."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(-8, 2)
        footer = int.from_bytes(file.read(4), "little")
        file.seek(-min(size, footer + 8), 2)
        return hashlib.sha256(f"{size} ".encode() + file.read()).hexdigest()[:16]
