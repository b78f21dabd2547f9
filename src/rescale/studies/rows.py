"""One network of a study as a row, and a table of such rows as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from rescale.figure import Figure

FIGURE_COLUMNS = {  # column of the CSV file: field of the headline figure
    "figure": "name",
    "figure_label": "label",
    "unit": "unit",
    "higher_is_better": "higher_is_better",
    "is_share": "is_share",
}
MEAN = "mean_"  # prefix of the columns of all other figures


@dataclass(frozen=True)
class Row:
    """One network of a study: its quality, training and cost; None where unknown.

    figure: the headline figure. value: its mean over `seeds` runs, in its unit; value_std: their standard
    deviation (n - 1), None for one seed. figures: means of all other figures of the evaluation, by name.
    changes: of the recipe, as one text. latency_s: for `batch` images, quartiles beside it. macs, params,
    activations: of one image. counted: how macs were counted (`rescale.models.count.Source`).
    on_front: every other network of the study is slower or has a worse value. front_chance: the share of
    draws of seeds, images and timings in which it is on the front. value_floor: the standard deviation over
    seeds that the finite number of held-out images explains alone.
    """

    label: str
    group: str
    model: str
    recipe: str
    changes: str
    resolution: int
    seeds: int
    figure: Figure
    value: float
    value_std: float | None
    value_lowest: float
    value_highest: float
    val_images: int
    epochs: float
    train_seconds: float
    macs: int
    params: int
    activations: int
    mode: str | None = None
    batch: int | None = None
    batch_fitted: int | None = None
    latency_s: float | None = None
    latency_q1_s: float | None = None
    latency_q3_s: float | None = None
    images_per_s: float | None = None
    memory_bytes: int | None = None
    precision: str | None = None
    threads: int | None = None
    device: str | None = None
    counted: str | None = None
    on_front: bool = False
    front_chance: float | None = None
    value_floor: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def quality(self) -> float:
        """The value, oriented so that more is better."""
        return self.figure.oriented(self.value)


def to_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV: a column per field, several for the headline figure, mean_NAME for each other figure.

    Unknown values are empty.
    """
    text = io.StringIO()
    others = dict.fromkeys(MEAN + name for row in rows for name in row.figures)
    writer = csv.DictWriter(text, [*_columns(), *others], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(row) for row in rows)
    return text.getvalue()


def from_csv(text: str) -> list[Row]:
    """Read what `to_csv` wrote, equal to the last digit."""
    return [_row(line) for line in csv.DictReader(io.StringIO(text))]


def _columns() -> Iterator[str]:
    """The columns that every table has, in their order."""
    for name in (item.name for item in fields(Row)):
        if name == "figure":
            yield from FIGURE_COLUMNS
        elif name != "figures":
            yield name


def _cells(row: Row) -> dict[str, Any]:
    cells = {name: getattr(row, name) for name in _columns() if name not in FIGURE_COLUMNS}
    cells |= {column: getattr(row.figure, name) for column, name in FIGURE_COLUMNS.items()}
    return cells | {MEAN + name: value for name, value in row.figures.items()}


def _row(line: Mapping[str, str]) -> Row:
    of_row, of_figure = get_type_hints(Row), get_type_hints(Figure)
    figure = {name: _value(line[column], of_figure[name]) for column, name in FIGURE_COLUMNS.items()}
    return Row(
        **{name: _value(line[name], of_row[name]) for name in _columns() if name not in FIGURE_COLUMNS},
        figure=Figure(**figure),
        figures={
            column.removeprefix(MEAN): float(cell)
            for column, cell in line.items()
            if column.startswith(MEAN) and cell
        },
    )


def _value(cell: str, hint: Any) -> Any:
    kinds = getattr(hint, "__args__", (hint,))
    if cell == "" and type(None) in kinds:
        return None
    return cell == "True" if bool in kinds else kinds[0](cell)
