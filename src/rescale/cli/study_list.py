"""rescale study --list: the kinds of studies, what they answer, and what they take here."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale import layout
from rescale.cli.models import DeviceFile, Json
from rescale.duration import roughly
from rescale.errors import plural
from rescale.studies.kinds import KINDS

if TYPE_CHECKING:
    from rescale.bench import Ask
    from rescale.studies.listing import Offer, Seconds

MANY = 1_000  # runs: as many at a time as this machine takes


def about_studies(
    context: typer.Context,
    listed: Annotated[
        bool,
        typer.Option("--list", help="List the kinds of studies, with the time of each on this machine."),
    ] = False,
    device: DeviceFile = None,
    as_json: Json = False,
) -> None:
    """Train and compare many runs."""
    if listed:
        list_studies(device, as_json)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def list_studies(device: Path | None, as_json: bool) -> None:
    """Print each kind's question and presets.

    Times are predicted from a device file, or else estimated from a few steps of the small networks.
    Raises UserError: the device file is no use.
    """

    from rescale.cli.models import read_device
    from rescale.cli.progress import progress
    from rescale.studies import Settings
    from rescale.studies.executors.local import parallel
    from rescale.studies.listing import in_proportion, named, offers

    runtime = read_device(device, False, "train")
    jobs, threads = (1, 0) if runtime else parallel(Settings(), MANY)
    count = len(list(named()))
    with progress("estimating") as advance:

        def done(number: int) -> None:
            advance(number, count, "")

        if runtime is not None:
            listed = offers(lambda net, _: runtime.seconds(net, "train") / runtime.batch, done)
        else:
            from rescale.bench import Server

            with Server() as server:
                listed = offers(in_proportion(_measured(server, threads)), done)
    if as_json:
        print(json.dumps([offer._asdict() for offer in listed], indent=1))
        return
    for name, kind in KINDS.items():
        print(layout.wrapped(f"{name}: {kind.QUESTION} ({kind.SOURCE})"))
        print(layout.table(_columns([offer for offer in listed if offer.kind == name], jobs)))
    how = (
        f"predicted by {device}"
        if device
        else "estimated from 3 steps of the small networks; larger ones in proportion to their multiply-adds"
    )
    print(
        layout.wrapped(
            f"time: of all training steps on this machine, {plural(jobs, 'run')} at a time, {how}; "
            "loading and evaluating images come on top. images: for training, that the time is for. finds: "
            "the smallest difference found with a probability of 80 %, if differences have a standard "
            "deviation of 0.5 over seeds. rescale study KIND --preset NAME runs one; its --dry-run has every "
            "run and its price."
        )
    )


def _measured(server: "Ask", threads: int) -> "Seconds":
    """Seconds for an image, by a few steps of the network on this machine."""
    from rescale import machine
    from rescale.bench import TimingProtocol
    from rescale.studies.price import seconds_of_image

    protocol = TimingProtocol(device=machine.default_device(), threads=threads)
    return lambda model, recipe: seconds_of_image(model, recipe, protocol, server)


def _columns(listed: "list[Offer]", jobs: int) -> list[layout.Column]:
    finds = ["–" if offer.smallest is None else f"{offer.smallest:.1f}" for offer in listed]
    return [
        layout.Column("preset", [offer.preset for offer in listed], left=True),
        layout.Column("what", [offer.about for offer in listed], left=True, breaks=True),
        layout.Column("runs", [str(offer.runs) for offer in listed]),
        layout.Column("images", [f"{offer.images:,}" for offer in listed], rank=1),
        layout.Column("time", [roughly(offer.seconds / jobs) for offer in listed]),
        layout.Column("finds", finds),
    ]
