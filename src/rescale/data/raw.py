"""What a format's reader returns: sources, classes, normalisation, and what was read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from rescale.data.source import IMAGENET_MEAN, IMAGENET_STD, LazyImage, Sample, Source
from rescale.errors import UserError

_LARGEST_LABEL = 1_000_000  # beyond it stand identities, not classes


class RawDataset(NamedTuple):
    """A data set as its format has it; val is None where the format has no second part."""

    train: Source
    val: Source | None
    classes: tuple[str, ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    files: Mapping[str, str] = MappingProxyType({})


class Classified:
    """What sources have in common whose samples are an image of one class: `image` and `labels` are given."""

    labels: np.ndarray

    @property
    def strata(self) -> np.ndarray:
        """The classes."""
        return self.labels

    def image(self, index: int) -> LazyImage:
        """The image at an index."""
        raise NotImplementedError

    def sample(self, index: int) -> Sample:
        """The image and its class number."""
        return Sample(self.image(index), int(self.labels[index]))


@dataclass(frozen=True)
class Arrays(Classified):
    """Images in memory: uint8 [N, H, W, 3]. Nothing is decoded or copied."""

    name: str
    pixels: np.ndarray
    labels: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> LazyImage:
        """The image at an index."""
        return LazyImage.of(self.pixels[index])

    def describe(self, index: int) -> str:
        """Where it lies."""
        return f"{self.name}[{index}]"

    def key(self, index: int) -> str:
        """Its place."""
        return str(index)


@dataclass(frozen=True)
class Subset:
    """Some samples of a source."""

    source: Source
    indices: np.ndarray

    @property
    def strata(self) -> np.ndarray:
        """Strata of the chosen samples."""
        return self.source.strata[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, index: int) -> Sample:
        """The sample at a place of the subset."""
        return self.source.sample(int(self.indices[index]))

    def describe(self, index: int) -> str:
        """Where it lies."""
        return self.source.describe(int(self.indices[index]))

    def key(self, index: int) -> str:
        """Its identity in the source."""
        return self.source.key(int(self.indices[index]))


def class_names(where: str, texts: set[str]) -> tuple[str, ...]:
    """Classes by label, from the labels' texts: as many as numbers reach, or the texts in sorted order."""
    if not all(re.fullmatch(r"-?\d+", text) for text in texts):
        return tuple(sorted(texts))
    numbers = sorted(map(int, texts))
    if numbers[0] < 0 or numbers[-1] > _LARGEST_LABEL:
        wrong = numbers[0] if numbers[0] < 0 else numbers[-1]
        raise UserError(f"{where}: label {wrong}; labels count from 0 (at most {_LARGEST_LABEL})")
    return tuple(str(number) for number in range(numbers[-1] + 1))


def label_numbers(classes: tuple[str, ...]) -> dict[str, int]:
    """The label that a text stands for: a number for itself, else a class's name."""
    return {name: label for label, name in enumerate(classes)} | {str(n): n for n in range(len(classes))}


def channel_statistics(pixels: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation of each channel, in 0..1, of uint8 images [N, H, W, 3]."""
    flat = pixels.reshape(-1, 3) / 255
    mean, std = flat.mean(0), flat.std(0)
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))
