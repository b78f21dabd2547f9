"""Each run of a study: its seed, value, time, folder and command, and the curves of a network's runs."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rescale import units
from rescale.duration import clock
from rescale.figure import Figure
from rescale.outputs import RUN_FILE
from rescale.report.findings import Findings
from rescale.studies import StudyFolder
from rescale.studies.commands import training_command
from rescale.training import Run

MOST_POINTS = 80  # of a curve; more are averaged in groups
WIDE, HIGH = 320.0, 150.0  # of a curve's panel, in its own units
Points = list[tuple[float, float]]


class RunLine(NamedTuple):
    """A finished run on the page.

    Args:
        seed: of the run.
        value: the headline figure with its unit.
        time: of the training.
        folder: beside the page.
        command: that trains the same by hand.
    """

    seed: int
    value: str
    time: str
    folder: str
    command: str


class Panel(NamedTuple):
    """A panel of curves, a line for each run.

    Args:
        title: what it shows, with its unit.
        lines: SVG paths.
        low, high: the ends of the vertical axis.
        epochs: the right end of the horizontal axis, which begins at 0.
    """

    title: str
    lines: list[str]
    low: str
    high: str
    epochs: str


class RunsOf(NamedTuple):
    """The finished runs of a network."""

    label: str
    anchor: str
    runs: list[RunLine]
    panels: list[Panel]


def anchors(findings: Findings) -> dict[str, str]:
    """The place on the page of each network's runs, by label."""
    return {row.label: f"runs-{i}" for i, row in enumerate(findings.rows, start=1)}


def runs_of_networks(findings: Findings) -> list[RunsOf]:
    """The finished runs of each network, in the order of the report's tables."""
    study, places = StudyFolder(findings.folder), anchors(findings)
    by_label: dict[str, list[RunLine]] = {label: [] for label in places}
    curves: dict[str, list[list[dict[str, Any]]]] = {label: [] for label in places}
    for item, result in findings.results.items():
        run, figure = Run(study.run(item)), Figure(**result["headline"])
        settings = run.facts["settings"] if (run.path / RUN_FILE).is_file() else {}
        value = units.with_unit(units.spread(result["figures"][figure.name], None), figure)
        folder = run.path.relative_to(findings.folder).as_posix()
        command = shlex.join(training_command(findings.plan, item, settings, folder))
        by_label[item.label].append(RunLine(item.seed, value, clock(result["seconds"]), folder, command))
        curves[item.label].append(run.metrics())
    return [
        RunsOf(label, anchor, by_label[label], panels(findings.rows[0].figure, curves[label]))
        for label, anchor in places.items()
    ]


def panels(figure: Figure, runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Panel]:
    """The training loss and the headline figure over the epochs, of the runs whose metrics are known.

    figure: the headline figure. runs: the rows of metrics.jsonl of each run.
    """
    losses = [[(_epochs(row, rows), row["loss"]) for row in rows if row["kind"] == "train"] for rows in runs]
    values = [
        [(_epochs(row, rows), value) for row in rows if (value := _value(row, figure)) is not None]
        for rows in runs
    ]
    shown = (("training loss", losses), (units.axis(figure, f"{figure.label}, evaluated"), values))
    return [panel for title, curves in shown if (panel := _panel(title, curves)) is not None]


def _value(row: Mapping[str, Any], figure: Figure) -> float | None:
    """The headline figure of an evaluation on the validation part; None for any other row."""
    figures = row.get("averaged") or row.get("raw") or {}
    known = row["kind"] == "eval" and row.get("on", "val") == "val" and figure.name in figures
    return float(figures[figure.name]) if known else None


def _epochs(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> float:
    """The place of a row along its run, in epochs, from the number of its step."""
    last = rows[-1]
    return float(row["step"]) / max(1, last["step"]) * float(last["epoch"])


def _panel(title: str, curves: Sequence[Points]) -> Panel | None:
    """A panel; None if no curve has two points."""
    drawn = [thinned(points) for points in curves if len(points) > 1]
    if not drawn:
        return None
    values = [value for points in drawn for _, value in points]
    low, high, end = min(values), max(values), max(points[-1][0] for points in drawn)
    scale = HIGH / ((high - low) or 1.0)
    paths = [
        "M" + "L".join(f"{x / end * WIDE:.1f},{HIGH - (y - low) * scale:.1f}" for x, y in points)
        for points in drawn
    ]
    return Panel(title, paths, units.digits(low), units.digits(high), f"{end:g}")


def thinned(points: Points) -> Points:
    """At most `MOST_POINTS` points: means of groups of equal size; the last point stays as it is."""
    if len(points) <= MOST_POINTS:
        return points
    size = -(-len(points) // (MOST_POINTS - 1))
    groups = [points[i : i + size] for i in range(0, len(points) - 1, size)]
    means = [(sum(x for x, _ in own) / len(own), sum(y for _, y in own) / len(own)) for own in groups]
    return [*means, points[-1]]
