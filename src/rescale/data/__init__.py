"""Data sets: open a built-in name or a path, read samples, load batches."""

from rescale.data.draw import Draw
from rescale.data.loading import Loading, batches
from rescale.data.open import open_data
from rescale.data.raw import RawDataset
from rescale.data.source import BadImage, Batch, Data, LazyImage, Sample, Source
from rescale.data.spec import DataSpec
from rescale.data.workers import LoadingFailed

__all__ = [
    "BadImage",
    "Batch",
    "Data",
    "DataSpec",
    "Draw",
    "LazyImage",
    "Loading",
    "LoadingFailed",
    "RawDataset",
    "Sample",
    "Source",
    "batches",
    "open_data",
]
