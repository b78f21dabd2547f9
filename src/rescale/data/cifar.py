"""CIFAR-10 and CIFAR-100 in the layout that torchvision downloads."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rescale.data.raw import Arrays, RawDataset
from rescale.errors import UserError, plural

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
    """Whether this folder or a direct subfolder has CIFAR's layout."""
    return bool(_folders(path))


def is_usable(path: Path) -> bool:
    """True: the names of CIFAR's folder and files mean nothing else."""
    return True


def contents(path: Path) -> str:
    """The folder in a few words."""
    return f"{_folders(path)[0].name}/"


def read(path: Path) -> RawDataset:
    """Read all images into memory. The unpickler accepts only arrays, text, numbers, lists and dicts.

    The contents of the files are hashed for the manifest. They are not compared with torchvision's
    checksums, which files converted from another source cannot match.

    Raises:
        UserError: a file is missing, damaged or not CIFAR's, or the folder holds both data sets.
    """
    folder, *rest = _folders(path)
    if rest:
        raise UserError(f"{path}: holds both {folder.name} and {rest[0].name}; give one of them")
    train, test, meta, label_key, names_key, mean, std = LAYOUTS[folder.name]
    loaded = {name: (folder / name, *_load(folder / name)) for name in (*train, *test, meta)}
    path, metadata, _ = loaded[meta]
    classes = tuple(str(name) for name in _entry(path, metadata, names_key))

    def arrays(names: list[str], part: str) -> Arrays:
        parts = [_images(*loaded[name][:2], label_key, len(classes)) for name in names]
        pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Arrays(f"{folder}/{part}", pixels, labels)

    files = {name: digest for name, (_, _, digest) in loaded.items()}
    parts = arrays(train, "train"), arrays(test, "test")
    return RawDataset(*parts, classes, mean, std, files, declared=True)


def _folders(path: Path) -> list[Path]:
    path = path.resolve() if path.name in ("", "..") else path  # the name decides the layout
    return [
        folder
        for name, (train, *_) in LAYOUTS.items()
        for folder in (path, path / name)
        if folder.name == name and (folder / train[0]).is_file()
    ]


def _images(
    path: Path, content: dict[str, Any], label_key: str, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [N, 32, 32, 3] and labels int64 [N] of one file."""
    data = np.asarray(_entry(path, content, "data"))
    labels = np.asarray(_entry(path, content, label_key))
    if data.dtype != np.uint8 or data.shape != (len(labels), 3072) or labels.dtype.kind not in "iu":
        count = plural(len(labels), "label")
        raise UserError(f"{path}: not a CIFAR file: {data.dtype} pixels {data.shape}, {count}")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"{path}: not a CIFAR file: no labels, or labels outside 0..{classes - 1}")
    pixels = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), labels.astype(np.int64)


def _entry(path: Path, content: dict[str, Any], key: str) -> Any:
    if not isinstance(value := content.get(key), list | np.ndarray):
        raise UserError(f"{path}: not a CIFAR file: it has no list {key!r}")
    return value


class _Plain(pickle.Unpickler):
    """Unpickles plain data and NumPy arrays (by their old and new module names), and nothing executable."""

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
        """Refuse every name that is not in ALLOWED."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which image data does not need")
        if np.lib.NumpyVersion(np.__version__) >= "2.0.0b1":
            module = module.replace("numpy.core", "numpy._core")  # the old name is deprecated
        return super().find_class(module, name)


# The exceptions that a damaged pickle can raise.
_DAMAGE = (pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, TypeError, MemoryError)


def _load(path: Path) -> tuple[dict[str, Any], str]:
    """The dictionary in a file, its keys as text, and a hash of the file."""
    try:
        encoded = path.read_bytes()
        content = _Plain(io.BytesIO(encoded), encoding="latin1").load()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; the data set is incomplete, get it again") from None
    except _DAMAGE as error:
        raise UserError(f"{path}: damaged or not a CIFAR file ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a CIFAR file: it holds no dictionary")
    plain = {k.decode("latin1") if isinstance(k, bytes) else str(k): value for k, value in content.items()}
    return plain, hashlib.sha256(encoded).hexdigest()[:16]
