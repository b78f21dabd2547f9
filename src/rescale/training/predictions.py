"""Predictions of single samples as a Parquet file, for paired tests, calibration and label errors."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rescale.data import Source
from rescale.errors import UserError, first_line
from rescale.files import atomic, printable

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "predictions.parquet"


def write_predictions(path: Path, source: Source, columns: Mapping[str, np.ndarray]) -> None:
    """Write one row per sample: its key in the source, and the task's columns.

    For classification these are index, target, top and probability. Columns of two dimensions become lists.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = [printable(source.key(int(index))) for index in columns["index"]]
    arrays = {"key": pa.array(keys, pa.string()), **{name: _array(value) for name, value in columns.items()}}
    with atomic(path) as temporary:
        pq.write_table(pa.table(arrays), temporary, compression="zstd")


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """The columns by name. Raises UserError for a damaged file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: cannot be read ({first_line(error)}); remove it, or copy it again"
        ) from None
    return {name: np.array(table.column(name).to_pylist()) for name in table.column_names}


def _array(values: np.ndarray) -> "pa.Array":
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
