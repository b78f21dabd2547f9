"""Image folders: one subfolder per class, inside train/ and val/ or directly in the data folder."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rescale.data.classes import check_classes
from rescale.data.files import (
    EXTENSIONS,
    Unread,
    as_argument,
    files_below,
    is_hidden,
    is_image,
    is_readable,
    size_of,
)
from rescale.data.parts import (
    TEST,
    Content,
    check_no_parts_inside,
    layout,
    part_of,
    parts_among,
    passed_over,
    stated_among,
    unused,
    used,
)
from rescale.data.raw import Encoded, RawDataset
from rescale.errors import UserError, first_few, plural
from rescale.preprocess import USUAL_DECODING, Decoding


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


def is_usable(path: Path) -> bool:
    """Whether several folders hold images, or one that is named after a part."""
    holding = [name for name in _folders(path) if _holds_images(path / name)]
    return len(holding) > 1 or any(map(part_of, holding))


def contents(path: Path) -> str:
    """The folders that hold images, in a few words; "" if none does."""
    return first_few([f"{name}/" for name in _folders(path) if _holds_images(path / name)], 3)


def read(path: Path) -> RawDataset:
    """List the images without decoding them. Classes are the names of the folders, sorted.

    `layout` decides whether the folders are parts or classes. Hidden files and files of other types are
    passed over. Images in subfolders of a class folder, also in linked ones, belong to that class.

    Raises:
        UserError: there is no training part, a class has no images, the two parts differ in their classes, or
            it is not clear which folders are parts.
    """
    names = _folders(path)
    parts = parts_among(names)
    named = parts or stated_among(names)
    decided = layout(path, {name: _content(path / name) for name in names}) if named else None
    if decided is None:
        source, classes, digest = _read_classes(path, check_parts=True)
        notes = tuple(f"{name}/ is a class here, like the folders beside it" for name in parts)
        return RawDataset(source, None, classes, files={"all": digest}, notes=notes)
    root = {name: _innermost(path / name) for name in (decided.train, decided.val) if name}
    source, classes, digest = _read_classes(root[decided.train], check_parts=True)
    files = {"train": digest}
    val = None
    if decided.val:
        held = root[decided.val]
        check_classes(path, classes, _classes(held), f"{held.name}/", all_of=True)
        val, files["val"] = _list(held, classes)
    shown = [f"{folder.relative_to(path)}/" for folder in root.values()]
    return RawDataset(
        source, val, classes, files=files, notes=(used(*shown), *_notes_on_unused(path, decided.unused))
    )


def read_part(path: Path) -> RawDataset:
    """List the images of one part, whose folders are classes whatever their names are.

    Raises:
        UserError: there are no folders, or a class has no images.
    """
    source, classes, digest = _read_classes(path, check_parts=False)
    return RawDataset(source, None, classes, files={"": digest})


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def _read_classes(path: Path, *, check_parts: bool) -> tuple[Folder, tuple[str, ...], str]:
    """The images in a folder of class folders, the classes, and a hash of the files."""
    classes = _classes(path)
    source, digest = _list(path, classes)
    if check_parts:
        check_no_parts_inside(path, dict.fromkeys(file.rpartition("/")[0] for file in source.files))
    return source, classes, digest


def _innermost(folder: Path) -> Path:
    """The folder, or the one of the same part that is all it holds: some archives have seg_test/seg_test."""
    while (
        len(inside := _folders(folder)) == 1
        and part_of(inside[0]) == part_of(folder.name)
        and not _is_flat(folder)
    ):
        folder = folder / inside[0]
    return folder


def _content(folder: Path) -> Content:
    folder = _innermost(folder) if part_of(folder.name) else folder
    below = any(_holds_images(folder / name) for name in _folders(folder))
    return Content(_is_flat(folder), below)


def _is_flat(folder: Path) -> bool:
    """Whether images lie directly in a folder."""
    return any(is_image(entry.name) for entry in folder.iterdir())


def _holds_images(folder: Path) -> bool:
    """Whether images lie in a folder or below it. Stops at the first."""
    return any(True for _ in _images(folder))


def _notes_on_unused(path: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if count := sum(1 for _ in _images(path / name)):
            what = f"{name}/ with {plural(count, 'image')}"
            if part_of(name) != TEST:
                yield passed_over(what)
            else:
                yield unused(what, as_argument(path / name) if _content(path / name).below else "")


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
            f"add some ({first_few(EXTENSIONS, 8)}) or remove the folder{_deeper_data(path, inside)}"
        )
    digest = hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]
    return Folder(path, tuple(files), np.array(labels, dtype=np.int64)), digest


def _deeper_data(path: Path, inside: Unread) -> str:
    """The folder to give instead where tar or Parquet files lie too deep; "" if none do."""
    file = inside.examples.get(".tar") or inside.examples.get(".parquet")
    if not file:
        return ""
    folder = (path / file).parent
    while part_of(folder.name) and folder != path:
        folder = folder.parent
    return f", or give {as_argument(folder)} as the data"


def _images(folder: Path) -> Iterator[tuple[str, int]]:
    """Relative path and size in bytes of each image in a folder, in order."""
    for name, entry in files_below(folder, enters=lambda folder: not is_hidden(folder.name)):
        if is_image(entry.name) and is_readable(entry):
            yield name, size_of(entry)
