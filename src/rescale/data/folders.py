"""Image folders: one subfolder per class, inside train/ and val/ or directly in the data folder."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rescale.data.files import EXTENSIONS, Unread, files_below, is_hidden, is_image, is_readable, size_of
from rescale.data.raw import Encoded, RawDataset
from rescale.errors import UserError, first_few, nearest
from rescale.preprocess import USUAL_DECODING, Decoding

TRAIN, VAL = ("train", "training"), ("val", "validation", "valid", "test")  # the first that exists is used


@dataclass(frozen=True)
class Folder(Encoded):
    """A source of image files. files: paths relative to `root`. labels: int64 [N], class numbers."""

    root: Path
    files: tuple[str, ...]
    labels: np.ndarray
    decoding: Decoding = USUAL_DECODING

    def __len__(self) -> int:
        return len(self.files)

    def encoded(self, index: int) -> Path:
        """The path of the image file."""
        return self.root / self.files[index]

    def describe(self, index: int) -> str:
        """The path of the image file."""
        return str(self.root / self.files[index])

    def key(self, index: int) -> str:
        """The path of the image file relative to `root`."""
        return self.files[index]

    def locations(self) -> Iterator[str]:
        """The paths of the image files."""
        return (f"{self.root}/{file}" for file in self.files)


def matches(path: Path) -> bool:
    """Whether the path is a folder that contains folders."""
    return path.is_dir() and bool(_folders(path))


def read(path: Path) -> RawDataset:
    """List the images without decoding them. Classes are the names of the folders, sorted.

    Hidden files and files of other types are passed over. Images in subfolders of a class folder, also in
    linked ones, belong to that class.

    Raises:
        UserError: there is no training part, a class has no images, or the two parts differ in their
            classes.
    """
    train = next((path / name for name in TRAIN if (path / name).is_dir()), None)
    val = next((path / name for name in VAL if (path / name).is_dir()), None)
    if train is None and val is not None:
        raise UserError(f"{path}: has {val.name}/ but no train/; add it, or give a folder of class folders")
    classes = _classes(train or path)
    if val is not None:
        _same_classes(path, val, classes)
    source, digest = _list(train or path, classes)
    files = {"train" if train else "all": digest}
    if val is None:
        return RawDataset(source, None, classes, files=files)
    held, files["val"] = _list(val, classes)
    return RawDataset(source, held, classes, files=files)


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def _classes(path: Path) -> tuple[str, ...]:
    names = _folders(path)
    if not names:
        raise UserError(f"{path}: holds no class folders; make a folder per class with its images inside")
    return tuple(names)


def _list(path: Path, classes: tuple[str, ...]) -> tuple[Folder, str]:
    """The images in the class folders of `path`, and a hash of their names and sizes."""
    files: list[str] = []
    labels: list[int] = []
    empty, lines = [], []
    for label, name in enumerate(classes):
        before = len(files)
        for file, size in _images(path / name):
            relative = f"{name}/{file}"
            lines.append(f"{relative} {size}")
            files.append(relative)
        labels += [label] * (len(files) - before)
        if len(files) == before:
            empty.append(name)
    if empty:
        inside = Unread()
        for file, _ in files_below(path / empty[0]):
            inside.add(f"{empty[0]}/{file}")
        raise UserError(
            f"{path}: no images in class {first_few([repr(name) for name in empty])}"
            f"{f' ({note})' if (note := inside.note()) else ''}; "
            f"add some ({first_few(EXTENSIONS, 8)}) or remove the folder"
        )
    digest = hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]
    return Folder(path, tuple(files), np.array(labels, dtype=np.int64)), digest


def _images(folder: Path) -> Iterator[tuple[str, int]]:
    """Relative path and size in bytes of each image in a folder, in order."""
    for name, entry in files_below(folder, enters=lambda folder: not is_hidden(folder.name)):
        if is_image(entry.name) and is_readable(entry):
            yield name, size_of(entry)


def _same_classes(path: Path, val: Path, classes: tuple[str, ...]) -> None:
    val_classes = _classes(val)
    if val_classes == classes:
        return
    lines = [
        f"{path}: class {name!r} is in {val.name}/ but not in training; {nearest(name, classes)}"
        for name in val_classes
        if name not in classes
    ]
    lines += [
        f"{path}: class {name!r} is in training but not in {val.name}/"
        for name in classes
        if name not in val_classes
    ]
    raise UserError(*lines[:6], *([f"... and {len(lines) - 6} more"] if len(lines) > 6 else []))
