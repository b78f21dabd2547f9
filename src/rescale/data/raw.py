"""What the reader of each format returns, and the sources that the readers share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from rescale.data.decode import rgb
from rescale.data.files import distinct_names
from rescale.data.source import IMAGENET_MEAN, IMAGENET_STD, LazyImage, Sample, Source
from rescale.preprocess import Decoding


class RawDataset(NamedTuple):
    """A data set as stored, before parts are split off.

    Args:
        train: the training part, or all samples.
        val: the validation part; None if the data set has none.
        classes: class names by number.
        mean, std: of the RGB channels, in 0..1.
        files: size or hash by name of each file or part that was read.
        notes: what was recognised or assumed, and what was passed over, one line each.
        declared: whether the data declares its classes, so that a part need not hold all of them.
        unread: files that a note names because they are not read.
    """

    train: Source
    val: Source | None
    classes: tuple[str, ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    files: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    declared: bool = False
    unread: tuple[Path, ...] = ()


class Classified:
    """Base class of sources of images with a class each. Subclasses define `image` and `labels`."""

    labels: np.ndarray

    @property
    def strata(self) -> np.ndarray:
        """The class of each sample, int64 [N]."""
        return self.labels

    def image(self, index: int) -> LazyImage:
        """The image at `index`."""
        raise NotImplementedError

    def sample(self, index: int) -> Sample:
        """The image at `index` and its class number."""
        return Sample(self.image(index), int(self.labels[index]))

    def locations(self) -> Iterator[str]:
        """The paths of the files that hold the images; none for images in memory."""
        return iter(())


class Encoded(Classified):
    """Base class of sources of encoded images. Subclasses define `encoded`, `describe` and `decoding`."""

    decoding: Decoding
    neighbours = 1  # images that are read together

    def encoded(self, index: int) -> bytes | Path:
        """The bytes of the image at `index`, or the path of its file. Raises BadImage."""
        raise NotImplementedError

    def describe(self, index: int) -> str:
        """Where the image is stored, for messages."""
        raise NotImplementedError

    def image(self, index: int) -> LazyImage:
        """The image at `index`."""
        return rgb(self.encoded(index), self.describe(index), self.decoding)


class InFiles(Encoded):
    """Base class of sources with many images in each of their files. Subclasses define `paths`."""

    paths: tuple[Path, ...]

    @cached_property
    def file_names(self) -> tuple[str, ...]:
        """The distinct names of the files, in the order of `paths`."""
        return distinct_names(self.paths)

    def locations(self) -> Iterator[str]:
        """The paths of the files."""
        return map(str, self.paths)


@dataclass(frozen=True)
class Arrays(Classified):
    """A source of images in memory. pixels: uint8 [N, H, W, 3]. labels: int64 [N], class numbers."""

    name: str
    pixels: np.ndarray
    labels: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> LazyImage:
        """The image at `index`."""
        return LazyImage.of(self.pixels[index])

    def describe(self, index: int) -> str:
        """Name of the array and index of the image."""
        return f"{self.name}[{index}]"

    def key(self, index: int) -> str:
        """The index as text."""
        return str(index)


@dataclass(frozen=True)
class Subset:
    """A subset of a source. indices: int64 [N], positions in the source."""

    source: Source
    indices: np.ndarray

    @property
    def strata(self) -> np.ndarray:
        """Strata of the samples in the subset."""
        return self.source.strata[self.indices]

    @property
    def labels(self) -> np.ndarray:
        """Class numbers of the samples, int64 [N], in a subset of a source of classified images."""
        return self.strata

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, index: int) -> Sample:
        """The sample at `index` of the subset."""
        return self.source.sample(int(self.indices[index]))

    def describe(self, index: int) -> str:
        """Where the sample is stored, for messages."""
        return self.source.describe(int(self.indices[index]))

    def key(self, index: int) -> str:
        """The sample's key in the source."""
        return self.source.key(int(self.indices[index]))


def channel_statistics(pixels: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel, in 0..1, of images uint8 [N, H, W, 3]."""
    flat = pixels.reshape(-1, 3) / 255
    mean, std = flat.mean(0), flat.std(0)
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))
