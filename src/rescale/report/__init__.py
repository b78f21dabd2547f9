"""What a study says, for people: a table, a picture, a page that works by itself, a CSV file."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # with their first use: they bring torch, which a picture of a network does not need
    from rescale.report.findings import Findings, gather
    from rescale.report.tables import table

_HOME = {"Findings": "findings", "gather": "findings", "table": "tables"}

__all__ = ["Findings", "gather", "table", "write_report"]


def write_report(study: Path) -> dict[str, Path]:
    """Write report.html, pareto.png, pareto.svg and results.csv into the study's folder; returns their paths.

    May be called at any time: runs that are missing or failed are named. Raises UserError where there is
    no study.
    """
    from rescale.files import atomic, write_text
    from rescale.report import page, plots
    from rescale.report.findings import gather
    from rescale.studies.analysis import to_csv

    findings = gather(study)
    names = ("report.html", "pareto.png", "pareto.svg", "results.csv")
    paths = {name: study / name for name in names}
    with atomic(paths["pareto.png"]) as png, atomic(paths["pareto.svg"]) as svg:
        plots.draw(findings, {"png": png, "svg": svg})
    write_text(paths["results.csv"], to_csv(findings.rows))
    write_text(paths["report.html"], page.page(findings))
    return paths


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rescale.report' has no attribute {name!r}")
    return getattr(import_module(f"rescale.report.{_HOME[name]}"), name)
