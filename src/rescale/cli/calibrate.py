"""rescale calibrate: measure this device once, so that times can be predicted."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.models import Json

if TYPE_CHECKING:
    from rescale.latency import RuntimeModel
    from rescale.latency.measuring import Plan


def calibrate(
    out: Annotated[Path, typer.Option("--out", "-o", help="The device file to write.")] = Path("device.json"),
    mode: Annotated[str, typer.Option(help="train (whole training steps), infer or both.")] = "both",
    batch: Annotated[int, typer.Option(min=1, help="Images per step.")] = 8,
    device: Annotated[str, typer.Option(help="cpu or cuda; default: a GPU if this machine has one.")] = "",
    precision: Annotated[
        str, typer.Option(help="auto (as training would choose), fp32, bf16 or fp16.")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all cores.")] = 0,
    fast: Annotated[
        str, typer.Option(help="An execution mode, as in `rescale bench`: channels_last+compile.")
    ] = "channels_last",
    quick: Annotated[
        bool, typer.Option("--quick", help="A third of the networks, fewer rounds: less accurate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure steps of small networks of every family, and fit a model of step time to them.

    Takes some minutes; run nothing else meanwhile. If stopped, repeat the command to continue.

    Example: rescale calibrate --out device.json
    """
    from dataclasses import replace
    from typing import cast, get_args

    from rescale.bench import TimingProtocol
    from rescale.bench.timing import Mode
    from rescale.errors import UserError, nearest

    modes = get_args(Mode)
    if mode not in (*modes, "both"):
        raise UserError(f"--mode {mode}: {nearest(mode, (*modes, 'both'))}")
    if fast == "auto":
        raise UserError(
            "--fast auto: a calibration covers one execution mode; name it, for example channels_last"
        )
    if out.exists():
        raise UserError(f"{out}: already exists; remove it to calibrate again, or give another --out")
    protocol = TimingProtocol(
        batch=batch,
        device="cpu",  # replaced below, where torch checks it
        precision=cast(Any, precision),  # TimingProtocol checks it
        threads=threads or None,
        fast=fast,
    )

    from rescale import machine
    from rescale.latency import calibration

    machine.keep_memory()
    protocol = replace(protocol, device=machine.chosen_device(device))
    model = _run(
        calibration.plan_of(protocol, modes if mode == "both" else (cast(Mode, mode),), quick=quick), out
    )
    if model.settings["others_busy_cores"] > calibration.BUSY:
        print(
            f"warning: other processes kept up to {model.settings['others_busy_cores']:g} cores busy; "
            f"calibrate again when nothing else runs",
            file=sys.stderr,
        )
    for weakness in filter(None, map(model.weakness, model.coefficients)):
        print(
            f"warning: {out} is too poor to use: {weakness}; calibrate again when nothing else runs "
            "(cost, scale and search refuse it without --force)",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps([_summary(out, model)], indent=1))
        return
    from rich.console import Console

    from rescale.report.runtime import errors_table

    Console().print(errors_table(model))
    print(f"written: {out}   (rescale cost NAME --device {out})")


def _run(plan: "Plan", out: Path) -> "RuntimeModel":
    """Measure and show the progress, write the device file and remove the partial one."""
    from rescale.cli.progress import progress
    from rescale.errors import JobError
    from rescale.latency.calibration import calibrate as measure

    beside = out.with_name(f"{out.name}.part")
    with progress("visits to networks") as advance:
        try:
            model = measure(plan, beside, lambda done, of: advance(done, of, ""))
        except KeyboardInterrupt:
            raise JobError(
                f"interrupted; measurements are kept in {beside}, repeat the command to continue"
            ) from None
    model.write(out)
    beside.unlink()
    return model


def _summary(out: Path, model: "RuntimeModel") -> dict[str, Any]:
    """The JSON output: path, batch, settings and prediction errors of the device file."""
    errors = {
        mode: {
            group: {name: error._asdict() for name, error in by_name.items()}
            for group, by_name in by_group.items()
        }
        for mode, by_group in model.errors.items()
    }
    return {"file": str(out), "batch": model.batch, "settings": dict(model.settings), "errors": errors}
