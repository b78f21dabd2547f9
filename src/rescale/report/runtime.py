"""What a device file says of itself: how far its predictions were off, beside those of single totals."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from rescale.latency import RuntimeModel

WHO = {
    "work": "the list of layers",
    "macs": "multiply-adds alone",
    "activations": "activations alone",
    "params": "parameters alone",
    "again": "a second measurement",
}


def errors_table(model: "RuntimeModel") -> "Table":
    """A line for each mode, predictor and what the fit had not seen; the settings below."""
    from rescale.report.tables import framed

    used = model.settings
    found = framed(
        f"Steps of {model.batch} images. {used['device']}, threads {used['threads']}, "
        f"{used['precision']}, {used['fast']}, torch {used['torch']}, load {used['load_average']}, "
        f"{used['date']}."
    )
    for title in ("", "predicted from", "not seen"):
        found.add_column(title)
    for title in ("median\nerror %", "of 90\n%", "within\n10 %", "rank\ncorr."):
        found.add_column(title, justify="right", no_wrap=True)
    for mode, some in model.errors.items():
        for who, by in some.items():
            for what, each in by.items():
                cells = (100 * each.median, 100 * each.p90, 100 * each.within_10)
                found.add_row(
                    mode, WHO[who], what, *(f"{cell:.1f}" for cell in cells), f"{each.spearman:.3f}"
                )
    return found


def footer(model: "RuntimeModel", batch: int | None = None) -> list[str]:
    """Whose times these are, and how far to trust them: lines below a table."""
    used = model.settings
    images = batch or model.batch
    lines = [
        f"times: steps of {images} images on {used['device']}, threads {used['threads']}, "
        f"{used['precision']}, predicted"
        + (f" (calibrated with {model.batch} images: extrapolated)" if images != model.batch else "")
    ]
    for mode, some in model.errors.items():
        seen, other = some["work"]["networks"], some["work"]["families"]
        lines.append(
            f"       {mode}: median error {100 * seen.median:.1f} % on networks like those calibrated with, "
            f"{100 * other.median:.1f} % on another family"
        )
    return lines
