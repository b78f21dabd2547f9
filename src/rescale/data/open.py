"""From a word or a path to data: which format it is, and what of it is held out."""

from pathlib import Path

import numpy as np

from rescale.data import cifar, digits, folders, parquet, shards
from rescale.data.raw import RawDataset
from rescale.data.source import Data
from rescale.data.splits import split
from rescale.errors import UserError, nearest

FORMATS = {"cifar": cifar, "tar shards": shards, "parquet": parquet, "image folder": folders}
VAL_SHARE = 0.1  # of a data set that comes in one part


def open_data(spec: str | Path, *, on_bad_image: str = "raise", minival: float = 0.0) -> Data:
    """Open data by a word (`digits`) or a folder, whose layout tells its format.

    A single .tar or .parquet file will do for a folder.
    minival: share of the training images to hold out, in a part of their own. A folder of one part is
    split: a tenth of each class, chosen by a hash of the images' names, becomes the validation part, which
    stays empty where no class has two images. Raises UserError with what is wrong: no such folder (with
    the nearest names), no images, one class only, a class without images, training and validation classes
    that differ, files that are cut off.
    """
    spec = str(spec)
    kind, parts = (digits.NAME, digits.read()) if spec == digits.NAME else _read(Path(spec))
    train, val, held = parts.train, parts.val, None
    check_classes(spec, parts)
    if val is None:
        train, val = split(train, VAL_SHARE, salt="val")
    if minival:
        train, held = split(train, minival, salt="minival")
        if not len(held):
            raise UserError(f"{spec}: no class has two training images, so none can be held out as minival")
    return Data(spec, kind, parts.classes, train, val, held, parts.mean, parts.std, parts.files, on_bad_image)


def check_classes(spec: str, parts: RawDataset) -> None:
    """Refuse what cannot be learned: images of fewer than two classes, or judged on classes never seen."""
    present = np.unique(parts.train.labels)
    if len(present) < 2:
        only = "".join(f" ({parts.classes[label]})" for label in present)
        raise UserError(
            f"{spec}: images of {len(present)} class only{only}; classification needs two or more"
        )
    held = parts.val.labels if parts.val is not None else present
    if len(strange := np.setdiff1d(held, present)):
        names = ", ".join(repr(parts.classes[label]) for label in strange[:5])
        raise UserError(
            f"{spec}: {len(strange)} classes have validation images and no training images: {names}"
            f"{', ...' * (len(strange) > 5)}"
        )


def _read(path: Path) -> tuple[str, RawDataset]:
    if not path.exists():
        raise UserError(_no_such(path))
    try:
        for kind, module in FORMATS.items():
            if module.matches(path):
                return kind, module.read(path)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from None
    raise UserError(_unknown(path))


def _no_such(path: Path) -> str:
    """Where a path goes wrong, and what is there instead."""
    while not path.parent.exists():
        path = path.parent
    around = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
    return f"{path}: no such data; {nearest(path.name, [digits.NAME, *around])}"


def _unknown(path: Path) -> str:
    if path.is_file():
        return f"{path}: is a file; give the folder that holds the data, a .tar shard or a .parquet file"
    names = [entry.name for entry in path.iterdir()]
    if not names:
        return f"{path}: is empty"
    if any(map(folders.is_image, names)):
        return f"{path}: its images lie in no class folders; make one folder a class, with its images inside"
    return (
        f"{path}: no data of a known layout (class folders of images, train/ and val/ of those, "
        f"CIFAR's batches, *.tar shards, *.parquet files)"
    )
