"""rescale bench."""

import json
import sys
from typing import Annotated

import typer

from rescale.cli.models import Json, Names


def bench(
    names: Names,
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
    from dataclasses import asdict, replace
    from functools import partial
    from typing import Any, cast

    from rescale.bench import Server, TimingProtocol, time_network
    from rescale.cli.early import check_all, check_model, check_recipe

    protocol = TimingProtocol(
        mode=cast(Any, mode),  # TimingProtocol checks both
        batch=batch,
        device="cpu",  # replaced below, where torch checks it
        precision=cast(Any, precision),
        threads=threads or None,
        warmup=warmup,
        repeats=repeats,
        fast=fast,
    )
    check_all(*(partial(check_model, name) for name in names), lambda: check_recipe(recipe))

    from rescale import machine
    from rescale.bench.choose import slower_than_fp32
    from rescale.cli.progress import progress
    from rescale.layout import note
    from rescale.models import counted_cost, model_named
    from rescale.recipes import resolve
    from rescale.training.norms import check_images
    from rescale.units import seconds

    protocol = replace(protocol, device=machine.chosen_device(device))
    chosen = check_recipe(recipe)
    models = [model_named(name).with_classes(classes) for name in names]
    for model in models:
        counted_cost(model)  # an external one may not take images of its resolution
    native = machine.native_bf16(protocol.device)
    resolved = [resolve(chosen, model, native_bf16=native).recipe for model in models]
    if protocol.mode == "train":
        for model, used in zip(models, resolved, strict=True):
            check_images(model, used, batch)
    timings, notes = [], []
    with Server() as server, progress("timing") as advance:
        for model, used in zip(models, resolved, strict=True):
            clock = partial(time_network, model, recipe=used, ask=server)
            timings.append(clock(protocol))
            advance(len(timings), len(models), f"{model.name} {seconds(timings[-1].latency_s)}")
            notes.append(slower_than_fp32(clock, protocol, timings[-1]))
    for line in filter(None, notes):
        print(note(line), file=sys.stderr)
    if as_json:
        print(json.dumps([asdict(timing) for timing in timings], indent=1))
    else:
        from rescale.report.tables import timing_table
        from rescale.terminal import console

        console().print(timing_table(timings))
