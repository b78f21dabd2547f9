"""The common form of all data formats: `Source` holds samples, `Data` holds the sources of a data set."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from rescale.data.spec import DataSpec

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1, as used in the papers
IMAGENET_STD = (0.229, 0.224, 0.225)


class BadImage(Exception):
    """An image that cannot be decoded. The message names the file and the reason."""


@dataclass(frozen=True)
class LazyImage:
    """An RGB image of known size whose pixels are decoded on demand.

    Args:
        width, height: in pixels.
        decode: takes a number of rows and returns at least that many from the top: uint8 [rows, width, 3],
            writable.
    """

    width: int
    height: int
    decode: Callable[[int], np.ndarray]

    @classmethod
    def of(cls, pixels: np.ndarray) -> "LazyImage":
        """Wrap decoded pixels, uint8 [H, W, 3]."""
        return cls(pixels.shape[1], pixels.shape[0], lambda rows: pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    def pixels(self, rows: int | None = None) -> np.ndarray:
        """The top `rows` rows (None: all), uint8 [rows, width, 3]. Raises BadImage if decoding fails."""
        rows = self.height if rows is None else rows
        return self.decode(rows)[:rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.pixels(), dtype=dtype, copy=copy)


class Sample(NamedTuple):
    """One sample of a source: an image and its target, such as a class number, a mask, boxes or None."""

    media: LazyImage
    target: Any


class Source(Protocol):
    """Samples by index. Sources must be cheap to pickle: each worker process gets a copy."""

    @property
    def strata(self) -> np.ndarray:
        """The group of each sample, such as its class, int64 [N]. Splits are stratified by it."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample:
        """The sample at `index`. Raises BadImage if decoding fails, here or when its pixels are read."""

    def describe(self, index: int) -> str:
        """Where the sample is stored, for messages: a file, or a file and a position in it."""

    def key(self, index: int) -> str:
        """The sample's unique key, independent of the location of the data. Splits are derived from it."""


@dataclass(frozen=True)
class Batch:
    """A batch of prepared samples.

    Args:
        tensors: tensors by name; the first dimension is the batch. Images are uint8 [N, 3, H, W].
        count: N, the number of samples.
        indices: int64 [N], positions of the samples in the source.
        bad: one line for each damaged image that was skipped for this batch.
    """

    tensors: "Mapping[str, Tensor]"
    count: int
    indices: "Tensor"
    bad: tuple[str, ...] = ()

    def to(self, device: str, non_blocking: bool = False) -> "Batch":
        """The same batch with its tensors on a device."""
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.tensors.items()}
        return replace(self, tensors=moved)

    def pin_memory(self) -> "Batch":
        """The same batch in pinned memory, for asynchronous copies to a GPU. DataLoader calls this method."""
        return replace(self, tensors={name: tensor.pin_memory() for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class Data:
    """A data set with its parts and all that a run stores about it.

    Args:
        spec: reference to open the data set again.
        format: name of the data format.
        classes: class names by number.
        train, val: the training and validation samples.
        minival: training samples that were held out; None if none were.
        mean, std: of the RGB channels, in 0..1.
        files: size or hash, depending on the format, by name of each file or part that was read.
        on_bad_image: what a damaged image does when it is loaded: `raise` or `skip`.
        notes: what was recognised, assumed or passed over, one line each.
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
    notes: tuple[str, ...] = ()

    def manifest(self) -> dict[str, Any]:
        """The description of the data that a run stores."""
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
            "notes": list(self.notes),
        }

    @property
    def has_imagenet_constants(self) -> bool:
        """Whether mean and std are ImageNet's, which are assumed for data without constants of their own."""
        return (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD)

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> "Data":
        """The same data with other normalisation constants, such as those of pretrained weights."""
        (m0, m1, m2), (s0, s1, s2) = mean, std
        return replace(self, mean=(m0, m1, m2), std=(s0, s1, s2))

    @property
    def digest(self) -> str:
        """Hash of the classes, the strata in order, and `files`.

        It changes with the content of CIFAR and digits, with names and sizes of images in folders and
        shards, and with the size and footer of Parquet files. Changes that keep the size are found by
        `rescale data verify --sums`.
        """
        sources = [s for s in (self.train, self.val, self.minival) if s is not None]
        strata = [hashlib.sha256(bytes(str(list(map(int, s.strata))), "ascii")).hexdigest() for s in sources]
        text = json.dumps([self.classes, strata, sorted(self.files.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]
