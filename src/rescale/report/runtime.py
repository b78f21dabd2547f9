"""Tables of the errors of a calibrated latency model, compared with predictions from single totals."""

from typing import TYPE_CHECKING

from rescale.errors import plural
from rescale.layout import Column, wrapped

if TYPE_CHECKING:
    from rich.table import Table

    from rescale.latency import RuntimeModel

PREDICTORS = {
    "work": "the list of layers",
    "macs": "multiply-adds alone",
    "activations": "activations alone",
    "params": "parameters alone",
    "again": "a second measurement",
}


def errors_table(model: "RuntimeModel", line_width: int | None = None) -> "Table":
    """A table of errors: a row for each mode, predictor and kind of left-out networks.

    line_width: characters in a line; None for those of the terminal.
    """
    from rescale.report.tables import drawn

    rows = [
        (mode, PREDICTORS[predictor], unseen, errors)
        for mode, by_predictor in model.errors.items()
        for predictor, by_unseen in by_predictor.items()
        for unseen, errors in by_unseen.items()
    ]
    modes, predictors, unseen, errors = zip(*rows, strict=True)
    settings = model.settings
    return drawn(
        [
            Column("", modes, left=True),
            Column("predicted from", predictors, left=True),
            Column("left out", unseen, left=True),
            Column("median\nerror %", [f"{100 * error.median:.1f}" for error in errors]),
            Column("90th pct.\nerror %", [f"{100 * error.p90:.1f}" for error in errors]),
            Column("within\n10 %", [f"{100 * error.within_10:.1f}" for error in errors]),
            Column("rank\ncorr.", [f"{error.spearman:.3f}" for error in errors]),
        ],
        f"Steps of {plural(model.batch, 'image')}. {settings['device']}, threads {settings['threads']}, "
        f"{settings['precision']}, {settings['fast']}, torch {settings['torch']}, "
        f"load {settings['load_average']}, {settings['date']}.",
        line_width,
    )


def footer(model: "RuntimeModel", batch: int | None = None) -> list[str]:
    """Lines below a table of predicted times: the device, the settings and the expected errors.

    Each is broken to fit the terminal.
    """
    settings = model.settings
    images = batch or model.batch
    lines = [
        f"times: steps of {plural(images, 'image')} on {settings['device']}, threads {settings['threads']}, "
        f"{settings['precision']}, predicted"
        + (f" (calibrated with {model.batch}: extrapolated)" if images != model.batch else "")
    ]
    for mode, by_predictor in model.errors.items():
        similar, new_family = by_predictor["work"]["networks"], by_predictor["work"]["families"]
        lines.append(
            f"{mode}: median error {100 * similar.median:.1f} % on networks of calibrated families, "
            f"{100 * new_family.median:.1f} % on another family"
        )
    first, *others = lines
    return [wrapped(first, " " * 7), *(wrapped(line, " " * 7, first=" " * 7) for line in others)]
