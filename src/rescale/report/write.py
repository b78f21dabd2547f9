"""All files of a study's report."""

from pathlib import Path

from rescale.files import atomic, write_text
from rescale.report import page, plots
from rescale.report.findings import Findings
from rescale.studies.rows import to_csv


def write_report(findings: Findings) -> dict[str, Path]:
    """Write report.html, pareto.png, pareto.svg and results.csv into the study's folder; returns their paths.

    findings: of `gather`, at any time: missing and failed runs are named in the report.
    """
    names = ("report.html", "pareto.png", "pareto.svg", "results.csv")
    paths = {name: findings.folder / name for name in names}
    with atomic(paths["pareto.png"]) as png, atomic(paths["pareto.svg"]) as svg:
        plots.draw(findings, {"png": png, "svg": svg})
    write_text(paths["results.csv"], to_csv(findings.rows))
    write_text(paths["report.html"], page.page(findings))
    return paths
