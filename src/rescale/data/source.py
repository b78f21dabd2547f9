"""What every format of data becomes: a Source of samples, and Data, which is two or three of them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from rescale.data.spec import DataSpec

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


class Sample(NamedTuple):
    """What a source holds at an index: an image, and its target (a class number, a mask, boxes, nothing)."""

    media: LazyImage
    target: Any


class Source(Protocol):
    """Samples by index. Cheap to pickle: worker processes get a copy."""

    @property
    def strata(self) -> np.ndarray:
        """int64 [N]: the group of each sample, such as its class; a split takes equal shares of all."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample:
        """The sample; BadImage where it cannot be decoded, now or when its pixels are asked for."""

    def describe(self, index: int) -> str:
        """Where the sample lies, for messages: a file, or a file and a place in it."""

    def key(self, index: int) -> str:
        """The sample's identity among the others, wherever the data lies; splits are made by it."""


@dataclass(frozen=True)
class Batch:
    """A batch as a task's stream makes it.

    Args:
        tensors: by name, the first dimension over the batch; images are uint8 [N, 3, H, W].
        count: N, the number of samples.
        indices: int64 [N], their places in the source.
        bad: one line for each damaged image that was passed over to make the batch.
    """

    tensors: Mapping[str, Tensor]
    count: int
    indices: Tensor
    bad: tuple[str, ...] = ()

    def to(self, device: str, non_blocking: bool = False) -> "Batch":
        """The same batch with its tensors on a device."""
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.tensors.items()}
        return replace(self, tensors=moved)

    def pin_memory(self) -> "Batch":
        """The same batch in pinned memory, from which a GPU copies beside its work; DataLoader calls it."""
        return replace(self, tensors={name: tensor.pin_memory() for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class Data:
    """A data set: what training, validation and minival (held out) see, and what travels with a run.

    spec: what opens it again. classes: names by number. mean, std: of RGB in 0..1.
    files: what the sources were read from: a file or a part -> its size or a hash, as its format says.
    """

    spec: DataSpec
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
            "spec": str(self.spec),
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
    def has_imagenet_constants(self) -> bool:
        """Whether mean and deviation are ImageNet's, assumed for data that has none of its own."""
        return (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD)

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> "Data":
        """The same data, its channels normalised by other constants, such as those of a model's weights."""
        (m0, m1, m2), (s0, s1, s2) = mean, std
        return replace(self, mean=(m0, m1, m2), std=(s0, s1, s2))

    @property
    def digest(self) -> str:
        """Hash of classes, strata in their order, and files.

        As far as `files` can tell, data of another content has another: content of CIFAR and digits, names
        and sizes of the images in folders and shards, sizes of Parquet files. Bytes changed at equal
        size are found by `rescale data verify --sums`.
        """
        sources = [s for s in (self.train, self.val, self.minival) if s is not None]
        strata = [hashlib.sha256(bytes(str(list(map(int, s.strata))), "ascii")).hexdigest() for s in sources]
        text = json.dumps([self.classes, strata, sorted(self.files.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]
