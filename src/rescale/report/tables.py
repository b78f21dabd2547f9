"""Tables for a terminal: they fit 80 columns where the names are not too long."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from rescale.bench.timing import Timing
from rescale.report import units
from rescale.report.claims import difference_text
from rescale.report.findings import TIMED, Findings

HEADING = {"train": "step", "infer": "latency"}  # of a column of times


def table(findings: Findings) -> Table:
    """The study's networks, a dot before those on the front; units in the headings.

    From the best to the worst; those of a plan by hand in its order, with the difference to the row above.

    findings: of at least one row.
    """
    rows, compared = findings.rows, findings.differences
    figure, timing = rows[0].figure, findings.plan.timing
    micros = [row.latency_s and 1e6 * row.latency_s for row in rows]
    quality = {f"{figure.label}\n{figure.unit}": [units.spread(row.value, row.value_std) for row in rows]}
    time = _column(HEADING[timing.mode], micros, 1000, ("µs", "ms", "s"))
    macs = _column("MACs", [row.macs for row in rows], 1000, units.COUNTS)
    params = _column("params", [row.params for row in rows], 1000, units.COUNTS)
    if findings.plan.by_hand:
        differences = [difference_text(compared.get(row.label), row) for row in rows]
        columns = quality | {f"to the row above\n{units.points(figure)}": differences} | time | macs | params
    else:
        speeds = [row.images_per_s for row in rows]
        columns = {
            **quality,
            **time,
            "images\n/s": [units.MISSING if speed is None else units.digits(speed) for speed in speeds],
            **_column("memory", [row.memory_bytes for row in rows], 1024, units.BYTES),
            **macs,
            **params,
            **_column("activ.", [row.activations for row in rows], 1000, units.COUNTS),
        }
    drawn = framed(
        ("" if figure.higher_is_better else f"A lower {figure.label} is better. ")
        + f"● on the front. {HEADING[timing.mode].capitalize()}, images/s and memory: {findings.timed}. "
        "MACs: multiply-adds an image; FLOPs = 2 × MACs."
    )
    drawn.add_column("", no_wrap=True)
    drawn.add_column("\nnetwork", overflow="fold", min_width=12)
    for title in columns:
        drawn.add_column(title, justify="right", no_wrap=True)
    for row, *cells in zip(rows, *columns.values(), strict=True):
        drawn.add_row("●" if row.on_front else "", row.label, *cells, style="bold" if row.on_front else None)
    return drawn


def timing_table(timings: Sequence[Timing]) -> Table:
    """What `rescale bench` prints: a line for each network, the settings below."""
    first = timings[0]
    used = first.settings
    micros = [1e6 * value for timing in timings for value in (timing.latency_s, *timing.quartiles_s)]
    unit, seconds = units.column(micros, 1000, ("µs", "ms", "s"))
    columns = {
        "px\n": [str(timing.resolution) for timing in timings],
        f"{HEADING[first.mode]}\n{unit}": seconds[::3],
        "quartiles\n": [f"{q1}–{q3}" for q1, q3 in zip(seconds[1::3], seconds[2::3], strict=True)],
        "images\n/s": [units.digits(timing.images_per_s) for timing in timings],
        **_column("memory", [timing.memory_bytes for timing in timings], 1024, units.BYTES),
        "fitted\n": [str(timing.batch_fitted) for timing in timings],
        "\n": [timing.precision for timing in timings],
    }
    drawn = framed(
        f"{TIMED[first.mode]} of {first.batch} images: median of {used['repeats']}, "
        f"and quartiles. {used['device']}, threads {used['threads']}, {first.fast}, "
        f"torch {used['torch']}, load {used['load_average']}."
    )
    drawn.add_column("\nnetwork", overflow="fold", min_width=12)
    for title in columns:
        drawn.add_column(title, justify="right", no_wrap=True)
    for timing, *cells in zip(timings, *columns.values(), strict=True):
        drawn.add_row(timing.model, *cells)
    return drawn


def framed(caption: str) -> Table:
    """A table without columns yet, in the common style, with the settings as its caption."""
    return Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption=caption, caption_justify="left"
    )


def _column(
    title: str, values: Sequence[float | None], base: int, names: tuple[str, ...]
) -> dict[str, list[str]]:
    unit, texts = units.column(values, base, names)
    return {f"{title}\n{unit}": texts}
