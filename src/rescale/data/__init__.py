"""Data sets: open a built-in name or a path, read samples, load batches."""

from typing import TYPE_CHECKING

from rescale.imports import on_first_use

if TYPE_CHECKING:
    from rescale.data.draw import Draw
    from rescale.data.loading import Loading, batches
    from rescale.data.measure import decoded, decoding_of
    from rescale.data.open import open_data
    from rescale.data.raw import RawDataset
    from rescale.data.source import BadImage, Batch, Data, LazyImage, Sample, Source
    from rescale.data.spec import DataSpec
    from rescale.data.workers import LoadingFailed

__getattr__ = on_first_use(  # only loading needs torch
    __name__,
    {
        "rescale.data.draw": ("Draw",),
        "rescale.data.loading": ("Loading", "batches"),
        "rescale.data.measure": ("decoded", "decoding_of"),
        "rescale.data.open": ("open_data",),
        "rescale.data.raw": ("RawDataset",),
        "rescale.data.source": ("BadImage", "Batch", "Data", "LazyImage", "Sample", "Source"),
        "rescale.data.spec": ("DataSpec",),
        "rescale.data.workers": ("LoadingFailed",),
    },
)

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
    "decoded",
    "decoding_of",
    "open_data",
]
