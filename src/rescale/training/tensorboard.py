"""The metrics as TensorBoard events, in addition to metrics.jsonl; they can be deleted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoard:
    """Writes the rows of a run as events; on resume, events after the step resumed at are hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def log(self, row: Mapping[str, Any]) -> None:
        """Write every number of a row, nested ones by path."""
        for name, value in _numbers(row):
            self.writer.add_scalar(f"{row['kind']}/{name}", value, row["step"])

    def close(self) -> None:
        """Write pending events."""
        self.writer.close()


def _numbers(row: Mapping[str, Any]) -> list[tuple[str, float]]:
    numbers: list[tuple[str, float]] = []
    for name, value in row.items():
        if isinstance(value, Mapping):
            numbers += [(f"{name}/{inner}", number) for inner, number in _numbers(value)]
        elif isinstance(value, int | float) and name != "step":
            numbers.append((name, float(value)))
    return numbers
