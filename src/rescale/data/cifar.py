"""CIFAR-10 and CIFAR-100 in the layout that torchvision downloads."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rescale.data.parts import Arrays, Parts
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
    return _folder(path) is not None


def read(path: Path) -> Parts:
    """Read all images into memory. Of the pickles, only arrays, text, numbers, lists and dicts are let in."""
    folder = _folder(path)
    assert folder is not None
    train, test, meta, label_key, names_key, mean, std = LAYOUTS[folder.name]
    classes = tuple(str(name) for name in _load(folder / meta)[names_key])
    files: dict[str, str] = {}

    def arrays(names: list[str], part: str) -> Arrays:
        pixels, labels = [], []
        for name in names:
            found = _load(folder / name)
            data = np.asarray(found["data"], dtype=np.uint8)
            if data.ndim != 2 or data.shape[1] != 3072 or len(data) != len(found[label_key]):
                raise UserError(
                    f"{folder / name}: not CIFAR's: {data.shape} pixels, {len(found[label_key])} labels"
                )
            pixels.append(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            labels += found[label_key]
            files[name] = str((folder / name).stat().st_size)
        known = np.array(labels, dtype=np.int64)
        if known.min() < 0 or known.max() >= len(classes):
            raise UserError(f"{folder}: labels outside 0..{len(classes) - 1}")
        return Arrays(f"{folder}/{part}", np.ascontiguousarray(np.concatenate(pixels)), known)

    return Parts(arrays(train, "train"), arrays(test, "test"), classes, mean, std, files)


def _folder(path: Path) -> Path | None:
    for name, (train, *_) in LAYOUTS.items():
        for folder in (path, path / name):
            if folder.name == name and (folder / train[0]).is_file():
                return folder
    return None


class _Plain(pickle.Unpickler):
    """Lets in what NumPy arrays are rebuilt from, and nothing that could run."""

    ALLOWED = frozenset(
        (module, name)
        for base in ("numpy.core", "numpy._core")
        for module, name in ((f"{base}.multiarray", "_reconstruct"), (f"{base}.multiarray", "scalar"))
    ) | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Refuse every name that is not on the list."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _load(path: Path) -> dict[str, Any]:
    """Read one of the files, its keys as text."""
    try:
        with path.open("rb") as file:
            found = _Plain(file, encoding="latin1").load()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; the data is incomplete") from None
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
    ) as error:
        raise UserError(f"{path}: damaged or no file of CIFAR's ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: no file of CIFAR's")
    return {
        key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in found.items()
    }
