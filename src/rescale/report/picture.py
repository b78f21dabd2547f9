"""A network as a picture: its parts, their shapes and where the cost lies, as text or as a figure."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rescale import layout, units
from rescale.cost import Cost, PartCost, by_part, cost
from rescale.errors import UserError, plural
from rescale.layout import Column
from rescale.network import Network, Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {"macs": "MACs", "params": "params", "activations": "acts"}
LINE = 100  # characters in a line at most
FORMATS = (".svg", ".png")
NAMED = 40  # characters of a network's name where it shares a line


class Part(NamedTuple):
    """A part as it is shown: its shape and cost, its layers in words, and its share of each total."""

    counts: PartCost
    made_of: str
    shares: dict[str, float]


def parts(network: Network) -> list[Part]:
    """Stem, stages and head, described."""
    made_of = [_stem(network), *map(_block, network.stages), _head(network)]
    totals = cost(network)._asdict()
    return [
        Part(counts, text, {kind: getattr(counts, kind) / totals[kind] for kind in KINDS})
        for counts, text in zip(by_part(network), made_of, strict=True)
    ]


def _stem(network: Network) -> str:
    kernels = [conv.kernel for conv in network.stem.convs]
    count = f"{len(kernels)} " if len(kernels) > 1 else ""
    alike = f" {kernels[0]}x{kernels[0]}" if len(set(kernels)) == 1 else ""
    return f"{count}conv{alike}" + (", maxpool" if network.stem.pool == "max" else "")


def _block(stage: Stage) -> str:
    return f"{stage.block} {stage.kernel}x{stage.kernel}" + (" SE" if stage.se else "")


def _head(network: Network) -> str:
    return f"conv {network.head.width}, linear" if network.head.width else "linear"


def _facts(network: Network) -> str:
    side, depth = network.resolution, sum(stage.depth for stage in network.stages)
    size, classes = f"{side} x {side} pixels, {plural(depth, 'block')}", plural(network.head.classes, "class")
    return f"{size}, {classes}, {network.activation}"


def _short(name: str, most: int = NAMED) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _shape(counts: PartCost) -> list[str]:
    """The numbers of a part, in the order of SHAPE."""
    stride = "" if counts.name == "head" else str(counts.stride)
    inner = ["" if width is None else str(width) for width in (counts.inner_width, counts.group_width)]
    return [str(counts.depth), str(counts.width), *inner, stride, str(counts.size_out)]


SHAPE = ("depth", "width", "inner", "group", "stride", "map")
SURPLUS = ("stride", "group", "inner", "map")  # left out in this order where the bars get too short
SHORTEST = 3  # characters of a bar


# ---- text


def text(networks: Sequence[Network], *, plain: bool = False, line_width: int | None = None) -> str:
    """One network as a table, two as tables of the same columns and their totals compared.

    plain: bars of # for terminals and files that know only ASCII. line_width: characters in a line, at most
    LINE are used; None for those of the terminal.
    """
    line_width = min(line_width or layout.width(), LINE)
    shown = [parts(network) for network in networks]
    rows = [[[part.counts.name, part.made_of, *_shape(part.counts)] for part in group] for group in shown]
    columns = [["part", "block", *SHAPE], *(row for table in rows for row in table)]
    widths = dict(
        zip(columns[0], (max(map(len, cells)) for cells in zip(*columns, strict=True)), strict=True)
    )
    dropped: list[str] = []
    while (bar := _bar_width(widths, line_width)) < SHORTEST and len(dropped) < len(SURPLUS):
        dropped.append(SURPLUS[len(dropped)])
        del widths[dropped[-1]]
    most = max(share for group in shown for part in group for share in part.shares.values())
    lines: list[str] = []
    for network, group, cells in zip(networks, shown, rows, strict=True):
        lines += [textwrap.fill(network.name, line_width), _facts(network), ""]
        labels = (f"  {label:{bar + 6}s}" for label in KINDS.values())
        lines.append((_line(dict(zip(widths, widths, strict=True)), widths) + "".join(labels)).rstrip())
        for part, row in zip(group, cells, strict=True):
            shares = (f"  {_percent(s)} {_bar(s / most, bar, plain)}" for s in part.shares.values())
            lines.append((_line(dict(zip(columns[0], row, strict=True)), widths) + "".join(shares)).rstrip())
        totals = (f"  {units.count(total):{bar + 6}s}" for total in cost(network))
        lines += [(_line({"part": "total"}, widths) + "".join(totals)).rstrip(), ""]
    if len(networks) == 2:
        lines += [_compared(networks, line_width), ""]
    lines.append(layout.wrapped(_legend(most, dropped), line_width=line_width))
    return "\n".join(lines)


def _bar_width(widths: Mapping[str, int], line_width: int) -> int:
    """Characters for each of the three bars beside columns of these widths and the percentages."""
    return min(14, (line_width - sum(widths.values()) - len(widths) + 1) // 3 - 8)


def _legend(most: float, dropped: Sequence[str]) -> str:
    """The meaning of the columns. most: the share that a full bar stands for."""
    meanings = {
        "inner": "channels of a block's middle convolution",
        "group": "channels of one of its groups",
        "map": "side of what leaves the part, px",
    }
    shown = ". ".join(f"{name}: {meaning}" for name, meaning in meanings.items() if name not in dropped)
    missing = f" Left out for lack of space: {', '.join(dropped)}." if dropped else ""
    return (
        "MACs: multiply-adds of one image (FLOPs = 2 x MACs); acts: activations. Shares are of the "
        f"network's own total; a full bar is {most:.0%}. {shown}. SE: squeeze-and-excitation.{missing}"
    )


def _line(cells: Mapping[str, str], widths: Mapping[str, int]) -> str:
    """Two columns of words, then numbers; a missing cell is empty."""
    return " ".join(
        f"{cells.get(name, ''):{'<' if name in ('part', 'block') else '>'}{width}s}"
        for name, width in widths.items()
    )


def _percent(share: float) -> str:
    """Five characters."""
    return f"{100 * share:4.1f}%" if share < 0.9995 else " 100%"


def _bar(filled: float, width: int, plain: bool) -> str:
    """`filled` of `width` characters, to an eighth of one."""
    if plain:
        return f"{'#' * round(filled * width):{width}s}"
    eighths = round(8 * width * filled)
    return f"{'█' * (eighths // 8) + ' ▏▎▍▌▋▊▉'[eighths % 8]:{width}s}"[:width]


def _compared(networks: Sequence[Network], line_width: int) -> str:
    """Totals of two networks and the ratio of the second to the first."""
    names = [
        network.name if len(network.name) <= NAMED else place
        for network, place in zip(networks, ("first", "second"), strict=True)
    ]
    counted = [[net.resolution, sum(stage.depth for stage in net.stages), *cost(net)] for net in networks]
    heads = ("pixels", "blocks", *KINDS.values())
    columns = [Column("", [*names, "second / first"], left=True)]
    for i, (head, values) in enumerate(zip(heads, zip(*counted, strict=True), strict=True)):
        cells = [str(value) if i < 2 else units.count(value) for value in values]
        first, second = values
        columns.append(Column(f"{head:>8s}", [*cells, f"{units.digits(second / first)}x"]))
    return layout.table(columns, line_width)


# ---- figure

SERIES = {"macs": "multiply-adds", "params": "parameters", "activations": "activations"}
LEFT, RIGHT = -0.17, 1.08  # of the table, as wide as the shares with their labels; 0 to 1 is the plots' width
PLACES = (0.36, 0.45, 0.54, 0.63, 0.72, 0.79, 0.88, 0.99, RIGHT)  # right ends of its numbers
NOTE = (
    "MACs: multiply-adds of one image; FLOPs = 2 × MACs. acts: activations. width: channels that leave\n"
    "the part. inner: channels of a block's middle convolution; group: of one of its groups. map: side of\n"
    "what leaves the part. SE: squeeze-and-excitation."
)


def format_of(path: Path) -> str:
    """The picture's format by the path's suffix. Raises UserError if that is neither .svg nor .png."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: a picture's name ends in .svg or .png")
    return path.suffix.lower().removeprefix(".")


def draw(networks: Sequence[Network], path: Path) -> None:
    """Write one network as a panel, two as panels of the same scales; .svg or .png."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = format_of(path)
    picture = BytesIO()
    shown = [parts(network) for network in networks]
    most = max(map(len, shown))
    heights = [1.5, 1.5, 1.35, 0.22 * (most + 2)]  # inches
    with mpl.rc_context({"svg.hashsalt": "rescale", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(6.8 * len(shown), sum(heights) + 2.4), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)  # type: ignore[union-attr, call-arg]
        rows = {"height_ratios": heights}
        grid = figure.subplots(4, len(shown), squeeze=False, sharey="row", gridspec_kw=rows)
        first = None
        for (maps, widths, shares, table), network, group in zip(grid.T, networks, shown, strict=True):
            totals = cost(network)
            _title(maps, network)
            _profile(maps, group, "size_out", shown)
            _profile(widths, group, "width", shown)
            _shares(shares, group, totals, first)
            _table(table, group, most)
            first = first or totals
            maps.tick_params(labelbottom=False)
            widths.set_xlabel("depth: blocks (stem: convolutions)", fontsize=8)
        grid[0, 0].set_ylabel("side of the map, px\n(log scale)", fontsize=8)
        grid[1, 0].set_ylabel("width, channels\n(log scale)", fontsize=8)
        figure.supxlabel(NOTE, fontsize=7.5, color="#555555", x=0.02, ha="left", multialignment="left")
        figure.savefig(picture, format=kind, metadata={"Date": None} if kind == "svg" else None)
    try:
        path.write_bytes(picture.getvalue())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def _colours(group: Sequence[Part]) -> list[tuple[float, float, float]]:
    """Grey ends, and stages from dark to light."""
    from matplotlib import colormaps

    last = max(1, len(group) - 3)
    stages = [colormaps["viridis"](0.12 + 0.8 * i / last)[:3] for i in range(len(group) - 2)]
    return [(0.72, 0.72, 0.72), *stages, (0.35, 0.35, 0.35)]


def _title(axes: "Axes", network: Network) -> None:
    name = _short(network.name, 48)
    axes.set_title(name, loc="left", pad=20, fontsize=12, fontweight="bold", parse_math=False)
    axes.text(0, 1.04, _facts(network), transform=axes.transAxes, fontsize=8, color="#555555")


def _profile(axes: "Axes", group: Sequence[Part], field: str, shown: Sequence[Sequence[Part]]) -> None:
    """Bars of one number over the depth, one bar per block, on axes that fit all networks shown.

    The head, which has no feature map, is left out.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    depth = max(sum(part.counts.depth for part in other[:-1]) for other in shown)
    values = [getattr(part.counts, field) for other in shown for part in other[:-1]]
    line = 0.5 if depth < 80 else 0
    begin = 0
    for part, colour in zip(group[:-1], _colours(group), strict=False):
        middles = [begin + i + 0.5 for i in range(part.counts.depth)]
        height = getattr(part.counts, field)
        axes.bar(middles, height, 1, color=colour, edgecolor="white", linewidth=line)
        begin += part.counts.depth
    axes.set_xlim(0, depth)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_yscale("log", base=2)
    axes.set_ylim(min(values) / 2, 1.3 * max(values))
    axes.yaxis.set_major_locator(LogLocator(base=2, numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(labelsize=8, labelleft=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)


def _shares(axes: "Axes", group: Sequence[Part], totals: Cost, first: Cost | None) -> None:
    """A bar of 100 % for each total, cut by part; behind it the total and its ratio to the first's."""
    for row, (kind, label) in enumerate(SERIES.items()):
        begin = 0.0
        for part, colour in zip(group, _colours(group), strict=True):
            share = 100 * part.shares[kind]
            axes.barh(row, share, 0.72, begin, color=colour, edgecolor="white", linewidth=0.6)
            if share >= 6:
                red, green, blue = colour
                ink = "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 else "black"
                middle = begin + share / 2
                axes.text(middle, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=ink)
            begin += share
        total = getattr(totals, kind)
        ratio = "" if first is None else f"  (×{units.digits(total / getattr(first, kind))})"
        axes.text(101, row, units.count(total) + ratio, va="center", fontsize=9)
        axes.text(-1, row, label, va="center", ha="right", fontsize=9)
    axes.set_xlim(0, 100)
    axes.set_ylim(2.6, -0.6)
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("share of the network's total, %", fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _table(axes: "Axes", group: Sequence[Part], most: int) -> None:
    """Every number of every part, with the colours' meaning; room for `most` parts."""
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(most, -1.6)
    words = (LEFT + 0.04, LEFT + 0.16)
    heads = (*SHAPE[:-1], "map\npx", *(f"{label}\n%" for label in KINDS.values()))
    for x, head, side in _cells(words, ("part", "block"), heads):
        axes.text(x, -0.15, head, ha=side, va="bottom", fontsize=7.5, color="#555555")
    axes.plot((LEFT, RIGHT), (0, 0), color="#999999", linewidth=0.7, clip_on=False)
    for i, (part, colour) in enumerate(zip(group, _colours(group), strict=True)):
        axes.add_patch(Rectangle((LEFT, i + 0.15), 0.025, 0.7, color=colour, linewidth=0, clip_on=False))
        numbers = [*_shape(part.counts), *(f"{100 * share:.1f}" for share in part.shares.values())]
        made_of = re.sub(r"(?<=\d)x(?=\d)", "×", part.made_of)
        for x, cell, side in _cells(words, (part.counts.name, made_of), numbers):
            axes.text(x, i + 0.5, cell, ha=side, va="center", fontsize=8)


def _cells(
    left: Sequence[float], words: Sequence[str], numbers: Sequence[str]
) -> list[tuple[float, str, str]]:
    """Place, text and alignment of a row's cells."""
    return [
        *((x, word, "left") for x, word in zip(left, words, strict=True)),
        *((x, number, "right") for x, number in zip(PLACES, numbers, strict=True)),
    ]
