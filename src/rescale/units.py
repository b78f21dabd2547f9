"""Numbers as text: three digits and a unit; headings and values of the headline figure."""

import math
import statistics
from collections.abc import Sequence

from rescale.figure import Figure

MISSING = "–"
COUNTS = ("", "k", "M", "G", "T")
BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def count(value: float | None) -> str:
    """2279000000 -> 2.28 G."""
    return MISSING if value is None else _scaled(value, 1000, COUNTS)


def memory(value: float | None) -> str:
    """Bytes: 1200000000 -> 1.12 GiB."""
    return MISSING if value is None else _scaled(value, 1024, BYTES)


def seconds(value: float | None) -> str:
    """0.0123 -> 12.3 ms; 75 -> 75.0 s."""
    if value is None:
        return MISSING
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 0.9995 or unit == "µs":
            return f"{digits(value * factor)} {unit}"
    raise AssertionError("the last unit always returns")


def spread(mean: float, deviation: float | None) -> str:
    """98.327, 0.21 -> 98.33 ± 0.21; 0.8761, 0.0021 -> 0.876 ± 0.002: two places, or three digits."""
    places = _places(mean)
    return f"{mean:.{places}f}" if deviation is None else f"{mean:.{places}f} ± {deviation:.{places}f}"


def difference(value: float, mean: float) -> str:
    """A difference with its sign, to as many places as `spread` shows of the values' mean: 0.833 -> +0.83."""
    return f"{value:+.{_places(mean)}f}".replace("-", "\N{MINUS SIGN}")


def points(figure: Figure) -> str:
    """The unit of a difference: percentages differ by points."""
    return "points" if figure.unit == "%" else figure.unit


def _places(mean: float) -> int:
    return 2 if abs(mean) >= 1 or mean == 0 else 2 - math.floor(math.log10(abs(mean)))


def with_unit(text: str, figure: Figure) -> str:
    """98.33 -> 98.33 %."""
    return f"{text} {figure.unit}".rstrip()


def axis(figure: Figure, label: str = "") -> str:
    """The title of the figure's axis: mean error, degrees (lower is better). label: for its own."""
    title = ", ".join(part for part in (label or figure.label, figure.unit) if part)
    return title if figure.higher_is_better else f"{title} (lower is better)"


def column(values: Sequence[float | None], base: int, units: Sequence[str]) -> tuple[str, list[str]]:
    """One unit for a whole column, in which its median is at least 1, and the texts."""
    known = [value for value in values if value is not None]
    middle = statistics.median(known) if known else 0
    place = next((i for i in range(len(units)) if middle < base ** (i + 1)), len(units) - 1)
    return units[place], [MISSING if v is None else digits(v / base**place) for v in values]


def digits(value: float) -> str:
    """Three significant digits, no exponent; at most five places."""
    size = abs(value)
    if size >= 99.95 or size == 0:
        return f"{value:.0f}"
    return f"{value:.{min(5, 2 - math.floor(math.log10(size * 1.0005)))}f}"


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    size = float(value)
    for unit in units[:-1]:
        if abs(size) < base - 0.5:
            return f"{digits(size) if size != int(size) or unit != units[0] else int(size)} {unit}".strip()
        size /= base
    return f"{digits(size)} {units[-1]}"
