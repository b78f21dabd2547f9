"""All files of a study's report."""

from pathlib import Path

from rescale.files import atomic, write_text
from rescale.report import page
from rescale.report.figures import FIGURES, drawn
from rescale.report.findings import Findings
from rescale.studies.rows import to_csv


def write_report(findings: Findings) -> dict[str, Path]:
    """Write report.html, results.csv and each figure as PNG and SVG into the study's folder.

    findings: of `gather`, at any time: missing and failed runs are named in the report.

    Returns:
        The paths by name.
    """
    figures = drawn(findings) or ["pareto"]  # which says that nothing has been trained yet
    pictures = [f"{name}.{ending}" for name in figures for ending in ("png", "svg")]
    paths = {name: findings.folder / name for name in ("report.html", *pictures, "results.csv")}
    for name in figures:
        with atomic(paths[f"{name}.png"]) as png, atomic(paths[f"{name}.svg"]) as svg:
            FIGURES[name].draw(findings, {"png": png, "svg": svg})
    write_text(paths["results.csv"], to_csv(findings.rows))
    write_text(paths["report.html"], page.page(findings))
    return paths
