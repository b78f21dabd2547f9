"""How far a calibrated latency model's predictions were off, beside those from single totals."""

from typing import TYPE_CHECKING

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


def errors_table(model: "RuntimeModel") -> "Table":
    """A line for each mode, predictor and set of unseen networks; the settings below."""
    from rescale.report.tables import framed

    used = model.settings
    table = framed(
        f"Steps of {model.batch} images. {used['device']}, threads {used['threads']}, "
        f"{used['precision']}, {used['fast']}, torch {used['torch']}, load {used['load_average']}, "
        f"{used['date']}."
    )
    for title in ("", "predicted from", "not seen"):
        table.add_column(title)
    for title in ("median\nerror %", "of 90\n%", "within\n10 %", "rank\ncorr."):
        table.add_column(title, justify="right", no_wrap=True)
    for mode, by_predictor in model.errors.items():
        for predictor, by_unseen in by_predictor.items():
            for unseen, errors in by_unseen.items():
                cells = (100 * errors.median, 100 * errors.p90, 100 * errors.within_10)
                table.add_row(
                    mode,
                    PREDICTORS[predictor],
                    unseen,
                    *(f"{c:.1f}" for c in cells),
                    f"{errors.spearman:.3f}",
                )
    return table


def footer(model: "RuntimeModel", batch: int | None = None) -> list[str]:
    """The device the times are of, and how far to trust them: lines below a table."""
    used = model.settings
    images = batch or model.batch
    lines = [
        f"times: steps of {images} images on {used['device']}, threads {used['threads']}, "
        f"{used['precision']}, predicted"
        + (f" (calibrated with {model.batch} images: extrapolated)" if images != model.batch else "")
    ]
    for mode, by_predictor in model.errors.items():
        alike, other = by_predictor["work"]["networks"], by_predictor["work"]["families"]
        lines.append(
            f"       {mode}: median error {100 * alike.median:.1f} % on networks like those calibrated with, "
            f"{100 * other.median:.1f} % on another family"
        )
    return lines
