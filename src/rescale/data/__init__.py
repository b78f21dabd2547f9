"""Data: from a word or a folder to labelled images, and from those to batches."""

from rescale.data.loading import batches
from rescale.data.open import open_data
from rescale.data.raw import RawDataset
from rescale.data.source import BadImage, Batch, Data, LazyImage, Source

__all__ = ["BadImage", "Batch", "Data", "LazyImage", "RawDataset", "Source", "batches", "open_data"]
