"""rescale bench."""

import json
from typing import Annotated

import typer

from rescale.cli.models import Json


def bench(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names, network files or timm:NAME.")],
    mode: Annotated[str, typer.Option(help="train: a whole training step; infer: a forward pass.")] = "train",
    batch: Annotated[int, typer.Option(min=1, help="Images per step; halved until they fit.")] = 32,
    device: Annotated[str, typer.Option(help="cpu or cuda; default: a GPU if this machine has one.")] = "",
    precision: Annotated[
        str, typer.Option(help="auto (as training would choose), fp32, bf16 or fp16.")
    ] = "auto",
    fast: Annotated[
        str,
        typer.Option(
            help="auto (measured), or channels_last, contiguous, with +compile, +graphs, +checkpointing."
        ),
    ] = "channels_last",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all cores.")] = 0,
    recipe: Annotated[
        str, typer.Option(help="Recipe of the training step: its rates and optimizer.")
    ] = "resnet-rs",
    classes: Annotated[int, typer.Option(min=1, help="Outputs of the head.")] = 1000,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed steps before the measurement.")] = 3,
    repeats: Annotated[int, typer.Option(min=1, help="Timed steps; the median is reported.")] = 15,
    as_json: Json = False,
) -> None:
    """Measure step time, images/s and peak memory, each network in its own process.

    Run nothing else on the machine meanwhile.

    Example: rescale bench resnetrs50@160 timm:resnetrs50@160 --batch 16
    """
    from dataclasses import asdict
    from typing import Any, cast

    from rescale import machine
    from rescale.bench import TimingProtocol, Workers, time_network
    from rescale.models import model_named
    from rescale.recipes import recipe as recipe_named
    from rescale.recipes import resolve

    protocol = TimingProtocol(
        mode=cast(Any, mode),  # TimingProtocol checks both
        batch=batch,
        device=machine.chosen_device(device),
        precision=cast(Any, precision),
        threads=threads or None,
        warmup=warmup,
        repeats=repeats,
        fast=fast,
    )
    chosen = recipe_named(recipe)
    models = [model_named(name).with_classes(classes) for name in names]
    native = machine.native_bf16(protocol.device)
    with Workers(len(models)) as workers:
        timings = [
            time_network(model, protocol, resolve(chosen, model, native_bf16=native).recipe, workers)
            for model in models
        ]
    if as_json:
        print(json.dumps([asdict(timing) for timing in timings], indent=1))
    else:
        from rescale.report.tables import timing_table
        from rescale.terminal import console

        console().print(timing_table(timings))
