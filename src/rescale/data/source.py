"""What every format of data becomes: a Source of labelled images, and Data, which is two or three of them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1, as the papers normalise
IMAGENET_STD = (0.229, 0.224, 0.225)


class BadImage(Exception):
    """An image that cannot be decoded; the text names the file and says why."""


@dataclass(frozen=True)
class LazyImage:
    """An RGB image whose size is known and whose pixels are decoded when they are asked for.

    decode: from a number of rows to that many or more, from the top: uint8 [rows, width, 3], writable.
    """

    width: int
    height: int
    decode: Callable[[int], np.ndarray]

    @classmethod
    def of(cls, pixels: np.ndarray) -> "LazyImage":
        """What is decoded already: uint8 [H, W, 3]."""
        return cls(pixels.shape[1], pixels.shape[0], lambda rows: pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    def pixels(self, rows: int | None = None) -> np.ndarray:
        """uint8 [rows, width, 3], from the top, all rows if None; BadImage where they cannot be decoded."""
        rows = self.height if rows is None else rows
        return self.decode(rows)[:rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.pixels(), dtype=dtype, copy=copy)


class Source(Protocol):
    """Labelled images by index. Cheap to pickle: worker processes get a copy."""

    @property
    def labels(self) -> np.ndarray:
        """int64 [N]: each image's class."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> LazyImage:
        """The image; BadImage where it cannot be decoded, now or when its pixels are asked for."""

    def describe(self, index: int) -> str:
        """Where the image lies, for messages: a file, or a file and a place in it."""

    def key(self, index: int) -> str:
        """The image's identity among the others, wherever the data lies; splits are made by it."""


class Batch(NamedTuple):
    """images: uint8 [N, 3, R, R]; labels: int64 [N]; indices: int64 [N], places in the source.

    bad: one line for each damaged image that was passed over to make it.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    bad: tuple[str, ...] = ()


@dataclass(frozen=True)
class Data:
    """A data set: what training, validation and minival (held out) see, and what travels with a run.

    spec: the text that opens it again. classes: names by label. mean, std: of RGB in 0..1.
    files: what the sources were read from: a file or a part -> its size or a hash, as its format says.
    """

    spec: str
    format: str
    classes: tuple[str, ...]
    train: Source
    val: Source
    minival: Source | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    files: Mapping[str, str] = field(default_factory=dict)
    on_bad_image: str = "raise"

    def manifest(self) -> dict[str, Any]:
        """What a run writes down about its data."""
        return {
            "spec": self.spec,
            "format": self.format,
            "classes": list(self.classes),
            "mean": list(self.mean),
            "std": list(self.std),
            "train": len(self.train),
            "val": len(self.val),
            "minival": len(self.minival) if self.minival is not None else 0,
            "files": dict(self.files),
            "digest": self.digest,
        }

    @property
    def digest(self) -> str:
        """Hash of classes, labels in their order, and files.

        As far as `files` can tell, data of another content has another: content of CIFAR and digits, names
        and sizes of the images in folders and shards, sizes of Parquet files. Bytes changed at equal
        size are found by `rescale data verify --sums`.
        """
        sources = [s for s in (self.train, self.val, self.minival) if s is not None]
        labels = [hashlib.sha256(bytes(str(list(map(int, s.labels))), "ascii")).hexdigest() for s in sources]
        text = json.dumps([self.classes, labels, sorted(self.files.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]
