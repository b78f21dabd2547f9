"""Parquet files with encoded images, in the layout of the Hugging Face hub.

What is inside a file is read by `parquet_file`, imported where there is one: other data needs no pyarrow.
"""

import glob
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rescale.data.files import as_argument, distinct_names, is_hidden_below, matching
from rescale.data.labels import Label, class_table, declared_names
from rescale.data.parts import Files, described, files_by_part, passed_over
from rescale.data.raw import RawDataset
from rescale.errors import UserError, first_few, plural

if TYPE_CHECKING:
    import pyarrow as pa


def matches(path: Path) -> bool:
    """Whether the path is a Parquet file, a pattern of some, or a folder that holds some."""
    return bool(files(path))


def is_usable(path: Path) -> bool:
    """Whether a file holds images and labels, unlike a table of facts about images that lie elsewhere."""
    from rescale.data import parquet_file

    return any(parquet_file.has_images(file) for file in files(path))


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
    from rescale.data import parquet_file

    tables, others, notes = _tables(path)
    parts = files_by_part(path, tables, parquet_file.has_labels)
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
    from rescale.data import parquet_file

    train, val = parts.train, parts.val
    _check_complete(*train, *val)
    schemas = {file: parquet_file.opened_file(file).schema_arrow for file in (*train, *val)}
    image, label = (
        parquet_file.column_of(train[0], schemas[train[0]], columns)
        for columns in (parquet_file.IMAGE, parquet_file.LABEL)
    )
    declared = _declared(schemas, label)
    labels = {file: parquet_file.labels_of(file, schema, image, label) for file, schema in schemas.items()}
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
    digests = dict(zip(distinct_names(tuple(schemas)), map(parquet_file.digest, schemas), strict=True))
    val_table = parquet_file.table_of(val, image, numbers) if val else None
    notes = (*parts.notes, *table.notes)
    return RawDataset(
        parquet_file.table_of(train, image, numbers),
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
    from rescale.data import parquet_file

    tables = files(path)
    levels: dict[int, list[Path]] = {}
    for file in tables:
        levels.setdefault(len(file.parts), []).append(file)
    for level in sorted(levels):
        chosen = [file for file in levels[level] if len(tables) == 1 or parquet_file.has_images(file)]
        if chosen:
            others = [file for file in tables if file not in set(chosen)]
            return chosen, others, [passed_over(described(path, others))] if others else []
    return levels[min(levels)], [], []  # its error says what is missing


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


def _declared(schemas: "dict[Path, pa.Schema]", label: str) -> tuple[str, ...]:
    """The class names in the files' hub metadata, which must be the same in all files; () for none."""
    from rescale.data import parquet_file

    names = {file: parquet_file.class_label(schema, label) for file, schema in schemas.items()}
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


def _check_classes_present(path: Path, classes: tuple[str, ...], present: set[int]) -> None:
    empty = [repr(name) for number, name in enumerate(classes) if number not in present]
    if empty:
        raise UserError(
            f"{path}: no training images of class {first_few(empty)}, which the files' metadata declares"
        )
