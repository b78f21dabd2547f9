"""The report of a study: a table, a picture, a page that works by itself, a CSV file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # with their first use: they bring torch, which a picture of a network does not need
    from rescale.report.findings import Findings, gather
    from rescale.report.tables import table
    from rescale.report.write import write_report

_HOME = {"Findings": "findings", "gather": "findings", "table": "tables", "write_report": "write"}

__all__ = ["Findings", "gather", "table", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rescale.report' has no attribute {name!r}")
    return getattr(import_module(f"rescale.report.{_HOME[name]}"), name)
