"""rescale models, rescale cost."""

import fnmatch
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale import layout
from rescale.layout import Column

if TYPE_CHECKING:
    from rescale.cost import Cost
    from rescale.latency import RuntimeModel
    from rescale.models import External
    from rescale.network import Network

MISSING = "–"  # what is unknown, in a table

Json = Annotated[bool, typer.Option("--json", help="Print JSON: a list of objects.")]
Force = Annotated[bool, typer.Option("--force", help="Use a device file even if its predictions are poor.")]


def network_names(incomplete: str) -> list[str]:
    """The names of networks that begin so, for the shell's completion."""
    from rescale.lookup import names

    return [name for name in names() if name.startswith(incomplete)]


Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...", help="Names, network files or timm:NAME.", autocompletion=network_names
    ),
]

DeviceFile = Annotated[
    Path | None, typer.Option("--device", help="Device file of `rescale calibrate`, to predict times.")
]


def models(
    pattern: Annotated[str, typer.Argument(help="Pattern of names; * matches anything.")] = "*",
    as_json: Json = False,
) -> None:
    """List the named networks and their cost.

    Example: rescale models 'resnetrs*'
    """
    from rescale.errors import UserError, nearest
    from rescale.lookup import by_family, names

    matches = {family: fnmatch.filter(some, pattern) for family, some in by_family().items()}
    if not any(matches.values()):
        raise UserError(f"no network is named {pattern!r}; {nearest(pattern.strip('*'), names())}")
    if as_json:
        show([_counted(name) for some in matches.values() for name in some], as_json)
        return
    for family, some in matches.items():
        if some:
            print(f"{family}:")
            show([_counted(name) for name in some], as_json)
            print()
    print(
        layout.wrapped(
            "Any name takes a resolution (resnet50@160) and can be scaled (resnet50-dWr-4: dWr by a factor "
            "of 4)."
        )
    )
    if matches["resnet"]:
        from rescale.families.resnet import PARTS

        print("A ResNet also takes a width and parts: resnetrs50x0.5+smallstem@32")
        for part, meaning in PARTS.items():
            print(layout.wrapped(meaning, " " * 17, first=f"  +{part:13s} "))


def cost(
    names: Names,
    classes: Annotated[int, typer.Option(min=1, help="Outputs of the head.")] = 1000,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Also predict the memory of a training step with this many images."),
    ] = None,
    precision: Annotated[str, typer.Option(help="Of that step: fp32, bf16 or fp16.")] = "fp32",
    device: DeviceFile = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Count multiply-adds, parameters and activations for one image (FLOPs are 2 x multiply-adds).

    With --device, also predict the time of a step, at --batch or else the batch of the calibration.

    Example: rescale cost resnetrs152@256 resnetrs50x0.5@160 --json
    """
    runtime = read_device(device, force)
    rows = [_counted(name, classes) for name in names]
    if runtime is not None:
        for name, row in zip(names, rows, strict=True):
            row["step_seconds"] = _times(name, classes, runtime, batch)
    if batch is not None:
        for name, row in zip(names, rows, strict=True):
            row["step_memory"] = _memory(name, classes, batch, precision)
    show(rows, as_json)
    if batch is not None and not as_json:
        from rescale.errors import plural

        print(
            layout.wrapped(
                f"memory: a training step of {plural(batch, 'image')} in {precision}, SGD and weight "
                "averaging, predicted; the workspace of the libraries is not included",
                " " * 8,
            )
        )
    if runtime is not None and not as_json:
        from rescale.report.runtime import footer

        print("\n".join(footer(runtime, batch)))


def read_device(path: Path | None, force: bool, mode: str = "") -> "RuntimeModel | None":
    """Read the device file, if a path is given.

    Raises UserError if its predictions of the mode, or of any mode, are too poor to use; not with `force`.
    """
    if path is None:
        return None
    from rescale.errors import UserError
    from rescale.latency import RuntimeModel

    runtime = RuntimeModel.read(path)
    modes = [each for each in runtime.coefficients if mode in ("", each)]
    if (weak := [reason for each in modes if (reason := runtime.weakness(each))]) and not force:
        raise UserError(
            f"{path}: too poor to use: {'; '.join(weak)}; calibrate again when nothing else runs, "
            "or pass --force"
        )
    return runtime


def device_for(latency: str | None, path: Path | None, force: bool, mode: str) -> "RuntimeModel | None":
    """Read the device file for --latency. Raises UserError if only one of the two options is given."""
    from rescale.errors import UserError

    runtime = read_device(path, force, mode)
    if (latency is None) != (runtime is None):
        raise UserError(
            "--latency and --device go together: give a time, and the file of `rescale calibrate`"
        )
    return runtime


def _times(name: str, classes: int, runtime: "RuntimeModel", batch: int | None) -> dict[str, float] | None:
    """Predicted seconds per step by mode; None for an external model."""
    from rescale.lookup import is_external, network

    if is_external(name):
        return None
    ours = network(name).with_classes(classes)
    return {mode: runtime.seconds(ours, mode, batch) for mode in runtime.coefficients}


def _memory(name: str, classes: int, batch: int, precision: str) -> dict[str, int] | None:
    """Predicted bytes by part; None for an external model."""
    from typing import get_args

    from rescale.errors import UserError, nearest
    from rescale.lookup import is_external, network
    from rescale.memory import Precision, step_memory

    if precision not in (known := get_args(Precision)):
        raise UserError(f"--precision {precision}: {nearest(precision, known)}")
    if is_external(name):
        return None
    return step_memory(network(name).with_classes(classes), batch, precision)._asdict()  # type: ignore[arg-type]


def _counted(name: str, classes: int = 1000) -> dict[str, Any]:
    from rescale.lookup import is_external, network

    if is_external(name):
        from rescale.models import counted_cost, model_named

        other = model_named(name).with_classes(classes)
        cost, source, _, uncounted = counted_cost(other)
        row = {**cost_row(other, cost), "counted": source}
        return {**row, "uncounted": list(uncounted)} if uncounted else row
    from rescale.cost import cost as count

    ours = network(name).with_classes(classes)
    return {**cost_row(ours, count(ours)), "counted": "arithmetic"}


def cost_row(model: "Network | External", cost_: "Cost") -> dict[str, Any]:
    """The JSON form of a model and its cost."""
    return {"name": model.name, "resolution": model.resolution, **cost_._asdict()}


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print networks and their cost, as a table or as JSON."""
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    print(layout.table(cost_columns(rows)))
    for row in rows:
        if row.get("uncounted"):
            from rescale.cost import lower_bound

            print(layout.wrapped(lower_bound(row["name"], row["uncounted"]), "  "))


def cost_columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns of a table of networks: size, cost, and what was predicted of a step."""
    modes = next((list(times) for row in rows if (times := row.get("step_seconds"))), [])
    columns = [
        Column(f"{'network':24s}", [row["name"] for row in rows], left=True),
        Column("pixels", [str(row["resolution"]) for row in rows], rank=2),
        _counts("MACs", [row["macs"] for row in rows], "G", 1e9),
        _counts("params", [row["params"] for row in rows], "M", 1e6, rank=3),
        _counts("acts", [row["activations"] for row in rows], "M", 1e6, rank=4),
    ]
    if any("step_memory" in row for row in rows):
        peaks = [row["step_memory"] and row["step_memory"]["peak"] / 2**30 for row in rows]
        columns.append(Column("memory\n(GiB)", [f"{peak:.2f}" if peak else MISSING for peak in peaks]))
    for mode in modes:
        times = [row["step_seconds"] and 1e3 * row["step_seconds"][mode] for row in rows]
        columns.append(Column(f"{mode}\n(ms)", [f"{time:.1f}" if time else MISSING for time in times]))
    if any("measured_seconds" in row for row in rows):
        times = [1e3 * row["measured_seconds"] for row in rows]
        columns.append(Column("measured\n(ms)", [f"{time:.1f}" for time in times]))
    sources = [row.get("counted", "arithmetic") for row in rows]
    if set(sources) != {"arithmetic"}:
        columns.append(Column("counted\nby", sources, rank=1, left=True))
    return columns


def _counts(title: str, values: Sequence[float], unit: str, size: float, rank: int = 0) -> Column:
    """A column of counts, in one unit unless a value is too small for three decimals of it."""
    from rescale import units

    if min(values) < 0.1 * size:
        return Column(title, [units.count(value) for value in values], rank=rank)
    return Column(f"{title}\n({unit})", [f"{value / size:.3f}" for value in values], rank=rank)
