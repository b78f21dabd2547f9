"""Data: from a word or a folder to labelled images, and from those to batches."""

from pathlib import Path

import numpy as np

from rescale.data import cifar, digits, folders, parquet, shards
from rescale.data.loading import batches
from rescale.data.parts import Parts
from rescale.data.source import BadImage, Batch, Data, Source
from rescale.data.splits import split
from rescale.errors import UserError, nearest

__all__ = ["BadImage", "Batch", "Data", "Source", "batches", "open_data"]

FORMATS = {"cifar": cifar, "tar shards": shards, "parquet": parquet, "image folder": folders}
VAL_SHARE = 0.1  # of a data set that comes in one part


def open_data(spec: str | Path, *, on_bad_image: str = "raise", minival: float = 0.0) -> Data:
    """Open data by a word (`digits`) or a folder, whose layout tells its format.

    minival: share of the training images to hold out, in a part of their own. A folder of one part is
    split: a tenth of each class, chosen by a hash of the images' names, becomes the validation part.
    Raises UserError with what is wrong: no such folder (with the nearest names), no images, one class
    only, a class without images, training and validation classes that differ.
    """
    spec = str(spec)
    if spec == digits.NAME:
        kind, parts = digits.NAME, digits.read()
    else:
        kind, parts = _read_folder(Path(spec))
    train, val, held = parts.train, parts.val, None
    check_classes(spec, train)
    if val is None:
        train, val = split(train, VAL_SHARE, _names(train, spec), salt="val")
    if minival:
        train, held = split(train, minival, _names(train, spec), salt="minival")
    return Data(spec, kind, parts.classes, train, val, held, parts.mean, parts.std, parts.files, on_bad_image)


def check_classes(spec: str, source: Source) -> None:
    """Refuse data that cannot be learned from: images of fewer than two classes."""
    present = np.unique(np.asarray(source.labels))
    if len(present) < 2:
        raise UserError(f"{spec}: images of {len(present)} class only; classification needs two or more")


def _read_folder(path: Path) -> tuple[str, Parts]:
    if not path.exists():
        around = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such data; {nearest(path.name, [digits.NAME, *sorted(around)])}")
    if not path.is_dir():
        raise UserError(f"{path}: is a file; give the folder that holds the data")
    for kind, module in FORMATS.items():
        if module.matches(path):
            return kind, module.read(path)
    raise UserError(
        f"{path}: no data of a known layout (class folders of images, train/ and val/ of those, "
        f"CIFAR's batches, *.tar shards, *.parquet files)"
    )


def _names(source: Source, spec: str) -> list[str]:
    """An identity for each image that does not depend on where the data lies."""
    return [source.describe(i).removeprefix(spec).lstrip("/") for i in range(len(source))]
