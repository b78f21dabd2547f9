"""Open a data set: recognise its format, read it, and split off validation and minival parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rescale.data import cifar, digits, folders, parquet, shards
from rescale.data.files import unread
from rescale.data.measure import decoded
from rescale.data.raw import Classified, RawDataset
from rescale.data.source import Data
from rescale.data.spec import DataSpec
from rescale.data.splits import split
from rescale.errors import UserError, nearest
from rescale.preprocess import USUAL_DECODING, Decoding

FORMATS = {"cifar": cifar, "tar shards": shards, "parquet": parquet, "image folder": folders}
VAL_SHARE = 0.1  # of a data set without a validation part


def open_data(
    spec: str | Path | DataSpec,
    *,
    on_bad_image: str = "raise",
    minival: float = 0.0,
    decoding: Decoding = USUAL_DECODING,
) -> Data:
    """Open a data set by its built-in name (`digits`) or by path; the layout decides the format.

    A path is a folder of class folders, a folder with train/ and val/, CIFAR-10 or CIFAR-100 as torchvision
    downloads them, WebDataset tar shards, or Parquet files as on the Hugging Face hub. A single .tar or
    .parquet file works too.

    If there is no validation part, a tenth of each class is held out for it, at least one sample. The choice
    depends only on a hash of the samples' keys. A class with one sample keeps it in training, so the
    validation part can be empty. Images are not decoded here, and the task checks later whether it can use
    the data.

    Args:
        spec: built-in name, path, or `DataSpec`.
        on_bad_image: what a damaged image does when it is loaded: `raise` stops with an error, `skip`
            replaces it in training and leaves it out in evaluation, up to 1 % of the images (at least 10).
        minival: share of the training samples to hold out as a separate part, in [0, 1); 0 for none.
        decoding: how image files become pixels. Ranges of more than 8 bits that it lacks are measured on a
            sample of the images.

    Returns:
        Training and validation sources, the minival source (None if not requested), class names by number,
        and the mean and standard deviation of the RGB channels in 0..1. Data other than digits and CIFAR
        get ImageNet's constants.

    Raises:
        UserError: the path does not exist (the message suggests similar names), has no known layout, holds
            no images, or cannot be read; a class has no images; training and validation classes differ; a
            file is damaged or truncated; minival is set and no class has two training images.
    """
    spec = spec if isinstance(spec, DataSpec) else DataSpec.of(spec)
    raw_format, raw = (digits.NAME, digits.read()) if spec.source == digits.NAME else _read(Path(spec.source))
    train, val, held = raw.train, raw.val, None
    notes = (*raw.notes, *_passed_over(spec, raw))
    if val is None:
        train, val = split(train, VAL_SHARE, salt="val")
    if minival:
        train, held = split(train, minival, salt="minival")
        if not len(held):
            raise UserError(f"{spec}: no class has two training images, so none can be held out as minival")
    data = Data(
        spec, raw_format, raw.classes, train, val, held, raw.mean, raw.std, raw.files, on_bad_image, notes
    )
    return decoded(data, decoding)


def _passed_over(spec: DataSpec, raw: RawDataset) -> Iterator[str]:
    """One line that counts the files beside the data that are not read, if there are any."""
    sources: list[Any] = [source for source in (raw.train, raw.val) if isinstance(source, Classified)]
    read = [path for source in sources for path in source.locations()]
    root = Path(spec.source)
    if read and root.is_dir() and (line := unread(root, read)):
        yield line


def _read(path: Path) -> tuple[str, RawDataset]:
    if not path.exists():
        raise UserError(_no_such(path))
    try:
        for name, module in FORMATS.items():
            if module.matches(path):
                return name, module.read(path)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from None
    raise UserError(_unknown(path))


def _no_such(path: Path) -> str:
    """The error for a path that does not exist: its first missing part, and similar names there."""
    while not path.parent.exists():
        path = path.parent
    siblings = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
    return f"{path}: no such data; {nearest(path.name, [digits.NAME, *siblings])}"


def _unknown(path: Path) -> str:
    if path.is_file():
        return f"{path}: is a file of another type; give the folder of the data, or a .tar or .parquet file"
    names = [entry.name for entry in path.iterdir()]
    if not names:
        return f"{path}: is empty; give the folder of the data"
    if any(map(folders.is_image, names)):
        return f"{path}: its images are in no class folders; make a folder per class with its images inside"
    return (
        f"{path}: no data of a known layout; known: class folders of images, train/ and val/ with class "
        f"folders, CIFAR's batches, *.tar shards, *.parquet files"
    )
