"""CIFAR-10 and CIFAR-100 in the layout that torchvision downloads."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rescale.data.raw import Arrays, RawDataset
from rescale.errors import UserError

# folder: training files, test files, the file of names, key of the labels, key of the names, mean, std
LAYOUTS = {
    "cifar-10-batches-py": (
        [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"], "batches.meta", "labels", "label_names",
        (0.49140, 0.48216, 0.44653), (0.24703, 0.24349, 0.26159),
    ),
    "cifar-100-python": (
        ["train"], ["test"], "meta", "fine_labels", "fine_label_names",
        (0.50707, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615),
    ),
}  # fmt: skip


def matches(path: Path) -> bool:
    """Is this folder, or one in it, CIFAR's?"""
    return bool(_folders(path))


def read(path: Path) -> RawDataset:
    """Read all images into memory. Of the pickles, only arrays, text, numbers, lists and dicts are let in.

    The files' contents are hashed for the manifest; they are not compared with torchvision's checksums,
    which files converted from elsewhere cannot meet.
    """
    folder, *more = _folders(path)
    if more:
        raise UserError(f"{path}: holds both {folder.name} and {more[0].name}; give one of them")
    train, test, meta, label_key, names_key, mean, std = LAYOUTS[folder.name]
    found = {name: (folder / name, *_load(folder / name)) for name in (*train, *test, meta)}
    path, described, _ = found[meta]
    classes = tuple(str(name) for name in _entry(path, described, names_key))

    def arrays(names: list[str], part: str) -> Arrays:
        read = [_images(*found[name][:2], label_key, len(classes)) for name in names]
        pixels, labels = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
        return Arrays(f"{folder}/{part}", pixels, labels)

    files = {name: digest for name, (_, _, digest) in found.items()}
    return RawDataset(arrays(train, "train"), arrays(test, "test"), classes, mean, std, files)


def _folders(path: Path) -> list[Path]:
    path = path.resolve() if path.name in ("", "..") else path  # a name tells the layout
    return [
        folder
        for name, (train, *_) in LAYOUTS.items()
        for folder in (path, path / name)
        if folder.name == name and (folder / train[0]).is_file()
    ]


def _images(path: Path, found: dict[str, Any], label_key: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [N, 32, 32, 3] and labels int64 [N] of one file."""
    data = np.asarray(_entry(path, found, "data"))
    labels = np.asarray(_entry(path, found, label_key))
    if data.dtype != np.uint8 or data.shape != (len(labels), 3072) or labels.dtype.kind not in "iu":
        raise UserError(f"{path}: not CIFAR's: {data.dtype} pixels {data.shape}, {len(labels)} labels")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"{path}: no labels, or labels outside 0..{classes - 1}")
    pixels = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), labels.astype(np.int64)


def _entry(path: Path, found: dict[str, Any], key: str) -> Any:
    if not isinstance(value := found.get(key), list | np.ndarray):
        raise UserError(f"{path}: no file of CIFAR's: it has no list of {key}")
    return value


class _Plain(pickle.Unpickler):
    """Lets in what NumPy arrays are rebuilt from, by old and new names, and nothing that could run."""

    ALLOWED = frozenset(
        (f"{package}.{module}", name)
        for package in ("numpy.core", "numpy._core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ) | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every name that is not on the list."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data has no need of")
        if np.lib.NumpyVersion(np.__version__) >= "2.0.0b1":
            module = module.replace("numpy.core", "numpy._core")  # the old name warns, and will go
        return super().find_class(module, name)


# What a damaged pickle raises.
_DAMAGE = (pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, TypeError, MemoryError)


def _load(path: Path) -> tuple[dict[str, Any], str]:
    """What one of the files holds, its keys as text, and a hash of its content."""
    try:
        content = path.read_bytes()
        found = _Plain(io.BytesIO(content), encoding="latin1").load()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; the data is incomplete") from None
    except _DAMAGE as error:
        raise UserError(f"{path}: damaged or no file of CIFAR's ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: no file of CIFAR's")
    plain = {k.decode("latin1") if isinstance(k, bytes) else str(k): value for k, value in found.items()}
    return plain, hashlib.sha256(content).hexdigest()[:16]
