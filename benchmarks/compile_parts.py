"""Does compiling only the repeated blocks of a network pay, against compiling the whole and against none?

A step is a forward and a backward pass: eager, with the network compiled as one graph, and with each block
compiled by itself, where blocks of equal shapes share their code. The first step of each process includes the
compilation, from an empty cache. `torch.compiler.nested_compile_region` is tried too; its error is stored.
"""

import argparse
import os
import tempfile
from typing import Any

from harness import Contender, Step, alternate, compare, finish, serve

HOWS = ("eager", "whole", "blocks")


def prepare(name: str, how: str, batch: int) -> Step:
    """A forward and a backward pass, compiled as `how` says."""
    import torch

    from rescale import machine
    from rescale.lookup import network
    from rescale.models import build
    from rescale.models.blocks import ResidualBlock

    machine.keep_memory()
    machine.set_threads(None)
    torch.manual_seed(0)
    net = network(name)
    model = build(net).to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, net.resolution, net.resolution).to(memory_format=torch.channels_last)
    if how == "blocks":
        torch._dynamo.config.recompile_limit = 64  # all blocks are compiled from one function
        for module in model.modules():
            if isinstance(module, ResidualBlock):
                module.compile(dynamic=False)
    if how == "nested":
        ResidualBlock._run = torch.compiler.nested_compile_region(ResidualBlock._run)  # type: ignore[method-assign]
    call = torch.compile(model, dynamic=False) if how in ("whole", "nested") else model

    def step() -> None:
        call(images).square().mean().backward()

    return step


def nested_error(name: str) -> str:
    """The first line of what a network of nested regions raises in training; empty if it trains."""
    try:
        prepare(name, "nested", 2)()
    except Exception as error:  # whatever the compiler raises
        return str(error).strip().splitlines()[-1 if len(str(error)) < 200 else 0][:200]
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small network and batch")
    parser.add_argument("--network", default="")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--serve", choices=HOWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    name = options.network or ("resnet1-1-1-1x0.25@32" if options.quick else "resnet50@224")
    batch = options.batch or (2 if options.quick else 16)
    if options.serve:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="compile")
        serve(lambda: prepare(name, options.serve, batch))
        return
    arguments = ("--network", name, "--batch", str(batch))
    contenders = {how: Contender(__file__, how, *arguments) for how in HOWS}
    first = {}
    for how, contender in contenders.items():
        contender.ask("ready")
        first[how] = contender.ask("step")
    seconds = alternate(contenders, warmup=1, rounds=options.rounds or (2 if options.quick else 7))
    memory = {how: contender.ask("memory") / 2**20 for how, contender in contenders.items()}
    for contender in contenders.values():
        contender.end()
    for how in HOWS:
        print(
            f"{how:8s} first step {first[how]:6.1f} s, then {min(seconds[how]):.3f} s, {memory[how]:.0f} MiB"
        )

    def against(peer: str) -> dict[str, Any]:
        return compare(f"blocks compiled one by one against {peer}", seconds["blocks"], seconds[peer], "s")

    finish(
        against("whole"),
        more=[against("eager")],
        network=name,
        batch=batch,
        first_step_s=first,
        peak_mib=memory,
        nested_compile_region=nested_error("resnet1-1-1-1x0.25@32"),
    )


if __name__ == "__main__":
    main()
