"""The Pareto curve as a picture: the headline figure against time, a front for each group."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from rescale import units
from rescale.errors import plural
from rescale.report.findings import Findings
from rescale.studies import Row, fronts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#808080")
"""Okabe and Ito's, with grey for black, which a dark page would hide."""
MARKERS = "osD^vPX"


def style(index: int) -> tuple[str, str]:
    """Colour and marker of the group with this index; the first 49 groups differ."""
    turn, place = divmod(index, len(COLOURS))
    return COLOURS[place], MARKERS[(place + turn) % len(MARKERS)]


def draw(findings: Findings, paths: Mapping[str, Path]) -> None:
    """Write the picture in each format (png, svg) to its path."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "rescale", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8.4, 5.4), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _frame(axes, findings)
        rows = [row for row in findings.rows if row.latency_s is not None]
        if not rows:
            axes.text(
                0.5, 0.5, "no network has been trained and timed yet", ha="center", transform=axes.transAxes
            )
        else:
            _points(axes, rows)
            _ticks(axes, rows)
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
            figure.draw_without_rendering()  # computes the layout, which the labels' positions depend on
            place_labels(axes, rows)
        for kind, path in paths.items():
            figure.savefig(path, format=kind, metadata={"Date": None} if kind == "svg" else None)


def _ms(row: Row) -> float:
    assert row.latency_s is not None
    return 1000 * row.latency_s


def _frame(axes: "Axes", findings: Findings) -> None:
    axes.set_title(f"{findings.plan.title}\n", loc="left", fontsize=12, fontweight="bold", parse_math=False)
    about = f"{findings.trained_on}; {findings.device}"
    axes.text(0, 1.02, about, transform=axes.transAxes, fontsize=8, color="#555555")
    axes.set_xlabel(f"{findings.time_of}, ms (log scale; bars: quartiles)")
    if figure := findings.figure:
        held_out = max(row.val_images for row in findings.rows)
        title = units.axis(figure, f"{figure.label} on {plural(held_out, 'held-out image')}")
        axes.set_ylabel("\n".join(wrap(f"{title}  (bars: ± std over seeds)", 62)))  # fits the height
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xscale("log")


def _points(axes: "Axes", rows: Sequence[Row]) -> None:
    common = sorted((row for row in rows if row.on_front), key=_ms)
    axes.plot(
        [_ms(row) for row in common],
        [row.value for row in common],
        color="#dddddd",
        linewidth=7,
        solid_capstyle="round",
        solid_joinstyle="round",
        zorder=1,
        label="common front (its networks filled)",
    )
    for i, (group, best) in enumerate(fronts(rows).items()):
        colour, marker = style(i)
        axes.plot(
            [_ms(row) for row in best], [row.value for row in best], color=colour, linewidth=1.4, alpha=0.75
        )
        own = [row for row in rows if row.group == group]
        axes.errorbar(
            [_ms(row) for row in own],
            [row.value for row in own],
            xerr=[
                [_ms(row) - 1000 * (row.latency_q1_s or 0) for row in own],
                [1000 * (row.latency_q3_s or 0) - _ms(row) for row in own],
            ],
            yerr=[row.value_std or 0 for row in own],
            fmt="none",
            ecolor=colour,
            elinewidth=0.9,
            capsize=2,
        )
        axes.plot([], [], color=colour, marker=marker, label=group)
        for row in own:
            face = colour if row.on_front else "white"
            axes.plot(_ms(row), row.value, marker=marker, color=colour, markerfacecolor=face, markersize=6)
    axes.margins(x=0.12, y=0.1)


def _ticks(axes: "Axes", rows: Sequence[Row]) -> None:
    """Ticks at round milliseconds, enough of them even within one decade."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(FixedLocator(round_ticks(low, high)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def round_ticks(low: float, high: float, enough: int = 5) -> list[float]:
    """Round numbers within a range of a log axis, low > 0: as coarse as gives `enough` of them."""
    ticks: list[float] = []
    if high > 4 * low:
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            ticks = [round(s * 10**d, 12) for d in decades for s in steps if low <= s * 10**d <= high]
            if len(ticks) >= enough:
                break
        return ticks
    decade = math.floor(math.log10(high - low))
    for step in (s * 10**d for d in (decade, decade - 1) for s in (5, 2, 1)):  # even steps
        ticks = [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
        if len(ticks) >= enough:
            break
    return ticks


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """Common area."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return wide * high if wide > 0 and high > 0 else 0.0


def places(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    inside: Box,
    radius: float,
    drawn: Sequence[Box] = (),
) -> list[tuple[float, float]]:
    """Lower left corners for labels of these sizes, each near its anchor.

    Labels avoid the other labels, all anchors, the boxes in `drawn` and the frame, if possible: of sixteen
    directions and ten distances the position with the least overlap is used, among equals the nearest.
    """
    marks = [*drawn, *(Box(x - radius, y - radius, x + radius, y + radius) for x, y in anchors)]
    taken: list[Box] = []
    for (x, y), (wide, high) in zip(anchors, sizes, strict=True):
        best, least = Box(x, y, x + wide, y + high), math.inf
        for far in range(10):
            away = radius * (1.2 + 0.8 * far)
            for turn in range(16):
                angle = (turn if turn % 2 else -turn) * math.pi / 16 + math.pi / 2  # above first
                dx, dy = math.cos(angle), math.sin(angle)
                left = x + away * dx - wide * (1 - dx) / 2
                bottom = y + away * dy - high * (1 - dy) / 2
                box = Box(left, bottom, left + wide, bottom + high)
                hidden = 2 * (wide * high - box.overlap(inside))
                hidden += sum(10 * box.overlap(other) for other in taken)
                hidden += sum(box.overlap(other) for other in marks)
                if (cost := hidden + away) < least:
                    best, least = box, cost
        taken.append(best)
    return [(box.left, box.bottom) for box in taken]


def place_labels(axes: "Axes", rows: Sequence[Row]) -> None:
    """Write each network's label beside its point, with a thin line if it is far away."""
    figure: Any = axes.get_figure()
    ordered = sorted(rows, key=lambda row: row.value)
    texts = [
        axes.text(
            _ms(row),
            row.value,
            row.label,
            fontsize=7.5,
            color="#222222" if row.on_front else "#777777",
            ha="left",
            va="bottom",
            parse_math=False,
        )
        for row in ordered
    ]
    boxes = [text.get_window_extent() for text in texts]
    to_pixels = axes.transData.transform
    anchors = [tuple(to_pixels((_ms(row), row.value))) for row in ordered]
    frame = axes.get_window_extent()
    radius = 5 * figure.dpi / 72
    corners = places(
        anchors,
        [(box.width, box.height) for box in boxes],
        Box(frame.x0, frame.y0, frame.x1, frame.y1),
        radius,
        [box for ends in _lines(rows) for box in _along(*to_pixels(ends))],
    )
    for text, box, corner, (x, y) in zip(texts, boxes, corners, anchors, strict=True):
        text.set_position(tuple(axes.transData.inverted().transform(corner)))
        near = (min(max(x, corner[0]), corner[0] + box.width), min(max(y, corner[1]), corner[1] + box.height))
        if math.dist((x, y), near) > 2.2 * radius:
            ends = axes.transData.inverted().transform([(x, y), near])
            axes.plot(ends[:, 0], ends[:, 1], color="#999999", linewidth=0.6, zorder=1)


def _lines(rows: Sequence[Row]) -> list[list[tuple[float, float]]]:
    """Both ends of every line that is drawn: the fronts' pieces and the error bars."""
    lines = []
    for best in fronts(rows).values():
        lines += [[(_ms(a), a.value), (_ms(b), b.value)] for a, b in itertools.pairwise(best)]
    for row in rows:
        spread = row.value_std or 0
        lines.append([(_ms(row), row.value - spread), (_ms(row), row.value + spread)])
        lines.append(
            [(1000 * (row.latency_q1_s or 0), row.value), (1000 * (row.latency_q3_s or 0), row.value)]
        )
    return lines


def _along(begin: Sequence[float], end: Sequence[float], size: float = 4) -> list[Box]:
    """A line of pixels as small squares."""
    pieces = max(1, math.ceil(math.dist(begin, end) / size))
    middles = [
        (begin[0] + (end[0] - begin[0]) * i / pieces, begin[1] + (end[1] - begin[1]) * i / pieces)
        for i in range(pieces + 1)
    ]
    return [Box(x - size / 2, y - size / 2, x + size / 2, y + size / 2) for x, y in middles]
