"""Tables for a terminal. Columns that do not fit beside the names are left out and named below."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from rescale import units
from rescale.bench.timing import Timing
from rescale.errors import plural
from rescale.layout import Column, fitting, left_out, width
from rescale.report.claims import difference_text
from rescale.report.findings import TIMED, Findings

HEADING = {"train": "step", "infer": "latency"}  # of a column of times
GAP, EDGES = 2, 2  # characters between two columns, and at both ends of a line


def table(findings: Findings, line_width: int | None = None) -> Table:
    """The study's networks, a dot before those on the front; units in the headings.

    In the order of the analysis, with the differences if they are among its columns.

    findings: of at least one row. line_width: characters in a line; None for those of the terminal.
    """
    rows, compared = findings.rows, findings.analysis.differences
    figure, timing = rows[0].figure, findings.plan.timing
    micros = [row.latency_s and 1e6 * row.latency_s for row in rows]
    rates = [units.MISSING if row.images_per_s is None else units.digits(row.images_per_s) for row in rows]
    columns = [
        Column("", ["●" if row.on_front else "" for row in rows]),
        _networks([row.label for row in rows]),
        Column(f"{figure.label}\n{figure.unit}", [units.spread(row.value, row.value_std) for row in rows]),
    ]
    time = _column(HEADING[timing.mode], micros, 1000, ("µs", "ms", "s"))
    macs = _column("MACs", [row.macs for row in rows], 1000, units.COUNTS, rank=1)
    params = _column("params", [row.params for row in rows], 1000, units.COUNTS, rank=2)
    activations = [row.activations for row in rows]
    if "difference" in findings.analysis.columns:
        differences = [difference_text(compared.get(row.label), row) for row in rows]
        heading = f"to the row above\n{units.points(figure)}"
        columns += [Column(heading, differences), time, macs, params]
    else:
        columns += [
            time,
            Column("images\n/s", rates, name="images/s", rank=5),
            _column("memory", [row.memory_bytes for row in rows], 1024, units.BYTES, rank=4),
            macs,
            params,
            _column("activ.", activations, 1000, units.COUNTS, name="activations", rank=3),
        ]
    caption = (
        ("" if figure.higher_is_better else f"A lower {figure.label} is better. ")
        + f"● on the front. {HEADING[timing.mode].capitalize()}, images/s and memory: {findings.timed}. "
        "MACs: multiply-adds an image; FLOPs = 2 × MACs."
    )
    if findings.counted:
        caption += f" {findings.counted}"
    return drawn(columns, caption, line_width, styles=["bold" if row.on_front else "" for row in rows])


def timing_table(timings: Sequence[Timing], line_width: int | None = None) -> Table:
    """What `rescale bench` prints: a line for each network, the settings below.

    line_width: characters in a line; None for those of the terminal.
    """
    first = timings[0]
    used = first.settings
    micros = [1e6 * value for timing in timings for value in (timing.latency_s, *timing.quartiles_s)]
    unit, seconds = units.column(micros, 1000, ("µs", "ms", "s"))
    quartiles = [f"{q1}–{q3}" for q1, q3 in zip(seconds[1::3], seconds[2::3], strict=True)]
    columns = [
        _networks([timing.model for timing in timings]),
        Column("px\n", [str(timing.resolution) for timing in timings], rank=5),
        Column(f"{HEADING[first.mode]}\n{unit}", seconds[::3]),
        Column("quartiles\n", quartiles, rank=1),
        Column("images\n/s", [units.digits(t.images_per_s) for t in timings], name="images/s", rank=2),
        _column("memory", [timing.memory_bytes for timing in timings], 1024, units.BYTES, rank=4),
        Column("fitted\n", [str(timing.batch_fitted) for timing in timings], rank=3),
        Column("\n", [timing.precision for timing in timings]),
    ]
    caption = (
        f"{TIMED[first.mode]} of {plural(first.batch, 'image')}: median of {used['repeats']}, "
        f"and quartiles. {used['device']}, threads {used['threads']}, {first.fast}, "
        f"torch {used['torch']}, load {used['load_average']}."
    )
    return drawn(columns, caption, line_width)


def drawn(
    columns: Sequence[Column], caption: str, line_width: int | None = None, styles: Sequence[str] = ()
) -> Table:
    """A table in the common style, without the columns that do not fit, which the caption names.

    Args:
        columns: all columns, from left to right.
        caption: what the values depend on.
        line_width: characters in a line; None for those of the terminal.
        styles: of the rows, such as bold; none by default.
    """
    kept = fitting(columns, GAP, (line_width or width()) - EDGES)
    missing = left_out(columns, kept)
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=f"{caption} {missing}".strip(),
        caption_justify="left",
        highlight=False,
    )
    for column in kept:
        table.add_column(
            Text(column.heading),
            justify="left" if column.left else "right",
            no_wrap=not column.breaks,
            overflow="fold",
            min_width=column.least,
        )
    for i, cells in enumerate(zip(*(column.cells for column in kept), strict=True)):
        table.add_row(*map(Text, cells), style=styles[i] if styles else None)
    return table


def _networks(names: Sequence[str]) -> Column:
    return Column("\nnetwork", names, name="network", left=True, breaks=True)


def _column(
    title: str,
    values: Sequence[float | None],
    base: int,
    names: tuple[str, ...],
    name: str = "",
    rank: int = 0,
) -> Column:
    unit, texts = units.column(values, base, names)
    return Column(f"{title}\n{unit}", texts, name=name, rank=rank)
