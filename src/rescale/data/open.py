"""Open a data set: recognise its format, read it, and split off validation and minival parts."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rescale.data import cifar, digits, folders, parquet, shards
from rescale.data.classes import check_classes, classes_of
from rescale.data.files import is_pattern, unread
from rescale.data.measure import decoded
from rescale.data.parts import OPTIONS, passed_over
from rescale.data.raw import Classified, RawDataset, Subset
from rescale.data.source import Data, Source
from rescale.data.spec import WORDS, DataSpec
from rescale.data.splits import split
from rescale.errors import UserError, plural
from rescale.preprocess import USUAL_DECODING, Decoding

FORMATS = {"cifar": cifar, "tar shards": shards, "parquet": parquet, "image folder": folders}
OTHER_FILE = "a file of another type; give the folder of the data, or a .tar or .parquet file"
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
    .parquet file works too, and so does a pattern of several (`train-*.tar`). `rescale.data.parts` recognises
    other names of the parts; a `DataSpec` can state the path of each part instead. `Data.notes` says what was
    recognised and what was passed over.

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
            no images, or cannot be read; it is not clear which format or which parts to read; a class has no
            images; training and validation classes differ; a label is missing or is no class; a file is
            damaged or truncated; minival is set and no class has two training images.
    """
    spec = DataSpec.of(spec)
    spec.check_exists()
    if spec.source == digits.NAME:
        raw_format, raw = digits.NAME, digits.read()
    elif spec.source:
        raw_format, raw = _read(Path(spec.source))
    else:
        raw_format, raw = _read_parts(spec)
    train, val, held = raw.train, raw.val, None
    notes = (*raw.notes, *_passed_over(spec, raw))
    if val is None:
        train, val = split(train, VAL_SHARE, salt="val")
        notes = (
            *notes,
            f"no validation part: {plural(len(val), 'image')} held out for it, a tenth of each class",
        )
    if minival:
        train, held = split(train, minival, salt="minival")
        if not len(held):
            raise UserError(f"{spec}: no class has two training images, so none can be held out as minival")
    data = Data(
        spec, raw_format, raw.classes, train, val, held, raw.mean, raw.std, raw.files, on_bad_image, notes
    )
    return decoded(data, decoding)


def _passed_over(spec: DataSpec, raw: RawDataset) -> Iterator[str]:
    """One line for each data folder that counts the files beside the data that are not read, if any."""
    sources: list[Any] = [source for source in (raw.train, raw.val) if isinstance(source, Classified)]
    read = [path for source in sources for path in source.locations()]
    for root in (Path(text) for text in (spec.source, spec.train, spec.val) if text):
        inside = [path for path in read if path.startswith(f"{root}/")]
        named = [path for path in raw.unread if path.is_relative_to(root)]
        if inside and root.is_dir() and (line := unread(root, inside, named)):
            yield line


def _read(path: Path) -> tuple[str, RawDataset]:
    """Read a data set in the format that its layout has."""
    with _readable(path):
        name, notes, others = _format(path)
        raw = FORMATS[name].read(path)
        notes = [*notes, *raw.notes, *_compared(path, raw, raw.val, raw.classes)]
        return name, raw._replace(notes=tuple(notes), unread=(*others, *raw.unread))


def _compared(where: object, raw: RawDataset, val: Source | None, classes: Sequence[str]) -> list[str]:
    """Check the classes of the validation part against those that the data declares, else those of training.

    Returns one line about the classes without validation images, if any. classes: of the validation part.
    """
    if val is None:
        return []
    known = raw.classes if raw.declared else classes_of(raw.train.strata, raw.classes)
    lacking = check_classes(where, known, classes_of(val.strata, classes))
    return [] if raw.declared else lacking


def _format(path: Path) -> tuple[str, list[str], list[Path]]:
    """The format of the data in a path, a line about each other format that is no data there, and its files.

    An archive or a table of facts beside an image folder is no data: its images have no labels.
    """
    names = [name for name, module in FORMATS.items() if module.matches(path)]
    if not names:
        raise UserError(_unknown(path))
    usable = [name for name in names if FORMATS[name].is_usable(path)] if len(names) > 1 else names
    if len(usable) > 1:
        listed = " and ".join(f"{FORMATS[name].contents(path)} ({name})" for name in usable[:2])
        raise UserError(f"{path}: holds {listed}; say which images to use: {OPTIONS}")
    contents = {name: FORMATS[name].contents(path) for name in names} if len(names) > 1 else {}
    chosen = next(iter(usable), "image folder" if contents.get("image folder") else names[0])
    others = [f"{held} ({name})" for name, held in contents.items() if name != chosen and held]
    left = [
        file for module in (shards, parquet) if module is not FORMATS[chosen] for file in module.files(path)
    ]
    return chosen, [passed_over(what) for what in others], left


def _read_parts(spec: DataSpec) -> tuple[str, RawDataset]:
    """Read the parts that a reference states, each in the format that its layout has."""
    if not spec.train:
        name, held = _read_part(Path(spec.val))
        return name, held._replace(train=Subset(held.train, np.array([], np.int64)), val=held.train)
    name, raw = _read_part(Path(spec.train))
    raw = raw._replace(files=_of_part("train", raw.files))
    if not spec.val:
        return name, raw
    _check_apart(Path(spec.train), Path(spec.val))
    val_name, held = _read_part(Path(spec.val))
    _check_no_file_twice(spec, raw.train, held.train)
    where = f"--train {spec.train} --val {spec.val}"
    lacking = _compared(where, raw, held.train, held.classes)
    return name if name == val_name else f"{name}, {val_name}", raw._replace(
        val=_renumbered(held, raw.classes),
        files={**raw.files, **_of_part("val", held.files)},
        unread=(*raw.unread, *held.unread),
        notes=tuple(dict.fromkeys((*raw.notes, *held.notes, *lacking))),
    )


def _read_part(path: Path) -> tuple[str, RawDataset]:
    if str(path) in WORDS:
        raise UserError(f"{path}: has its own parts; give it as --data {path}")
    with _readable(path):
        name, notes, others = _format(path)
        if name == "cifar":
            raise UserError(f"{path}: CIFAR has its own parts; give it as --data {path}")
        raw = FORMATS[name].read_part(path)
        return name, raw._replace(notes=(*notes, *raw.notes), unread=(*others, *raw.unread))


def _of_part(part: str, files: Mapping[str, str]) -> dict[str, str]:
    """The entries of `RawDataset.files` with the part before their names."""
    return {f"{part}/{name}".rstrip("/"): digest for name, digest in files.items()}


def _check_apart(train: Path, val: Path) -> None:
    """Refuse parts of which one lies in the other: images would be in both."""
    inner, outer = train.resolve(), val.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise UserError(f"--train {train} --val {val}: one lies in the other; give two separate paths")


def _check_no_file_twice(spec: DataSpec, train: Any, val: Any) -> None:
    """Refuse patterns that stand for a common file: its images would be in both parts."""
    if twice := set(train.locations()) & set(val.locations()):
        raise UserError(
            f"--train {spec.train} --val {spec.val}: {min(twice)} is in both; give separate files"
        )


def _renumbered(held: RawDataset, classes: tuple[str, ...]) -> Source:
    """The validation samples with the training part's numbers for their classes, matched by name."""
    if held.classes == classes:
        return held.train
    source: Any = held.train
    position = {name: number for number, name in enumerate(classes)}
    numbers = np.array([position.get(name, -1) for name in held.classes])
    return replace(source, labels=numbers[source.labels])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn a path that does not exist or cannot be read into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from None


def _is_archive(path: Path) -> bool:
    endings = [ending for _, endings, _ in shutil.get_unpack_formats() for ending in endings]
    return path.name.lower().endswith((*endings, ".7z", ".rar")) and path.suffix != ".tar"


def _unknown(path: Path) -> str:
    """What is wrong with a path that holds no data, and what to do."""
    if path.is_file():
        kind = "a packed archive; unpack it and give the folder" if _is_archive(path) else OTHER_FILE
        return f"{path}: is {kind}"
    if is_pattern(path):
        return f"{path}: stands for no .tar or .parquet file"
    names = [entry.name for entry in path.iterdir()]
    if not names:
        return f"{path}: is empty; give the folder of the data"
    if any(map(folders.is_image, names)):
        return f"{path}: its images are in no class folders; make a folder per class with its images inside"
    if packed := sorted(filter(_is_archive, path.iterdir())):
        return f"{path}: holds no images but {plural(len(packed), 'packed archive')}: unpack {packed[0].name}"
    return (
        f"{path}: no data of a known layout; known: class folders of images, train/ and val/ with class "
        f"folders, CIFAR's batches, *.tar shards, *.parquet files"
    )
