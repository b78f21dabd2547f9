"""A folder of images: a folder a class, in train/ and val/ or directly."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from rescale.data.decode import rgb
from rescale.data.parts import Parts
from rescale.errors import UserError, nearest

TRAIN, VAL = ("train", "training"), ("val", "validation", "valid", "test")  # the first that exists


@dataclass(frozen=True)
class Folder:
    """Image files, relative to a folder."""

    root: Path
    files: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Image.Image:
        """The image at an index."""
        path = self.root / self.files[index]
        return rgb(path, str(path))

    def describe(self, index: int) -> str:
        """Its file."""
        return str(self.root / self.files[index])


def matches(path: Path) -> bool:
    """Does the folder hold folders?"""
    return any(entry.is_dir() for entry in path.iterdir() if not entry.name.startswith("."))


def read(path: Path) -> Parts:
    """List the images; nothing is decoded. Classes are the folders' names in sorted order."""
    train = next((path / name for name in TRAIN if (path / name).is_dir()), None)
    val = next((path / name for name in VAL if (path / name).is_dir()), None)
    if train is None and val is not None:
        raise UserError(f"{path}: has {val.name}/ and no train/; add it, or give a folder of class folders")
    classes = _classes(train or path)
    source, digest = _list(train or path, classes)
    present = set(source.labels.tolist())
    if empty := [name for label, name in enumerate(classes) if label not in present]:
        which = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        raise UserError(f"{train or path}: no images in class {which}; add some or remove the folder")
    files = {"train" if train else "all": digest}
    if val is None:
        return Parts(source, None, classes, files=files)
    _same_classes(path, val, classes)
    held, files["val"] = _list(val, classes)
    return Parts(source, held, classes, files=files)


def _classes(path: Path) -> tuple[str, ...]:
    found = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not found:
        raise UserError(f"{path}: holds no class folders; make one folder a class, with its images inside")
    return tuple(found)


def _list(path: Path, classes: tuple[str, ...]) -> tuple[Folder, str]:
    """The images below a folder, class by class, and a hash of their names and sizes."""
    files: list[str] = []
    labels: list[int] = []
    lines = []
    for label, name in enumerate(classes):
        for file in sorted((path / name).rglob("*")):
            if file.suffix.lower() in IMG_EXTENSIONS and file.is_file():
                relative = file.relative_to(path).as_posix()
                files.append(relative)
                labels.append(label)
                lines.append(f"{relative} {file.stat().st_size}")
    if not files:
        raise UserError(
            f"{path}: no images ({', '.join(IMG_EXTENSIONS)}) in any of its {len(classes)} class folders"
        )
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return Folder(path, tuple(files), np.array(labels, dtype=np.int64)), digest


def _same_classes(path: Path, val: Path, classes: tuple[str, ...]) -> None:
    held = _classes(val)
    if held == classes:
        return
    lines = [
        f"{path}: class {name!r} is in {val.name}/ and not in training; {nearest(name, classes)}"
        for name in held
        if name not in classes
    ]
    lines += [
        f"{path}: class {name!r} is in training and not in {val.name}/"
        for name in classes
        if name not in held
    ]
    raise UserError(*lines[:6], *([f"... and {len(lines) - 6} more"] if len(lines) > 6 else []))
