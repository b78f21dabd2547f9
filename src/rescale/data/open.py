"""From a word or a path to data: which format it is, and what of it is held out."""

from pathlib import Path

from rescale.data import cifar, digits, folders, parquet, shards
from rescale.data.raw import RawDataset
from rescale.data.source import Data
from rescale.data.spec import DataSpec
from rescale.data.splits import split
from rescale.errors import UserError, nearest

FORMATS = {"cifar": cifar, "tar shards": shards, "parquet": parquet, "image folder": folders}
VAL_SHARE = 0.1  # of a data set that comes in one part


def open_data(spec: str | Path | DataSpec, *, on_bad_image: str = "raise", minival: float = 0.0) -> Data:
    """Open data by a word (`digits`) or a path, whose layout tells its format.

    A single .tar or .parquet file will do for a folder. A data set of one part is split: a tenth of each
    stratum (class), chosen by a hash of the samples' names, becomes the validation part, which stays empty
    where no stratum has two samples. Whether the data can be learned from is the task's to check.

    Args:
        spec: the word or path.
        on_bad_image: `raise` or `skip`, for whoever loads the data.
        minival: share of the training samples to hold out, in a part of their own.

    Raises:
        UserError: no such path (with the nearest names), no images, a class without images, training and
            validation classes that differ, files that are cut off.
    """
    spec = spec if isinstance(spec, DataSpec) else DataSpec.of(spec)
    raw_format, raw = (digits.NAME, digits.read()) if spec.source == digits.NAME else _read(Path(spec.source))
    train, val, held = raw.train, raw.val, None
    if val is None:
        train, val = split(train, VAL_SHARE, salt="val")
    if minival:
        train, held = split(train, minival, salt="minival")
        if not len(held):
            raise UserError(f"{spec}: no class has two training images, so none can be held out as minival")
    return Data(spec, raw_format, raw.classes, train, val, held, raw.mean, raw.std, raw.files, on_bad_image)


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
