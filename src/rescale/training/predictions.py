"""Predictions of single samples as a Parquet file, for paired tests, calibration and label errors."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rescale.data import Source
from rescale.files import atomic

FILE = "predictions.parquet"


def write_predictions(path: Path, source: Source, columns: Mapping[str, np.ndarray]) -> None:
    """Write a row a sample: its key in the source, and the task's columns (for classification: index, target,
    top, probability). Columns of two dimensions become lists."""
    keys = [source.key(int(index)) for index in columns["index"]]
    arrays = {"key": pa.array(keys, pa.string()), **{name: _array(value) for name, value in columns.items()}}
    with atomic(path) as beside:
        pq.write_table(pa.table(arrays), beside, compression="zstd")


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """The columns that were written, keys as objects."""
    table = pq.read_table(path)
    return {name: np.array(table.column(name).to_pylist()) for name in table.column_names}


def _array(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
