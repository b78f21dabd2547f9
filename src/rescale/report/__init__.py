"""The report of a study: a table, a picture, a page that works by itself, a CSV file."""

from typing import TYPE_CHECKING

from rescale.imports import on_first_use

if TYPE_CHECKING:
    from rescale.report.findings import Findings, gather
    from rescale.report.tables import table
    from rescale.report.write import write_report

__getattr__ = on_first_use(  # they bring torch, which a picture of a network does not need
    __name__,
    {
        "rescale.report.findings": ("Findings", "gather"),
        "rescale.report.tables": ("table",),
        "rescale.report.write": ("write_report",),
    },
)

__all__ = ["Findings", "gather", "table", "write_report"]
