"""Data sets: open a built-in name or a path, read samples, load batches."""

from rescale.data.draw import Draw
from rescale.data.loading import Loading, batches
from rescale.data.measure import decoded, decoding_of
from rescale.data.open import open_data
from rescale.data.raw import RawDataset
from rescale.data.source import BadImage, Batch, Data, LazyImage, Sample, Source
from rescale.data.spec import DataSpec

__all__ = [
    "BadImage",
    "Batch",
    "Data",
    "DataSpec",
    "Draw",
    "LazyImage",
    "Loading",
    "RawDataset",
    "Sample",
    "Source",
    "batches",
    "decoded",
    "decoding_of",
    "open_data",
]
