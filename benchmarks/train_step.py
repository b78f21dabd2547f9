"""Is our training step faster than timm's, by default settings and against timm's best flags?

Ours is the step that `rescale train` takes, in the fast mode that it chooses: normalise uint8 images,
forward, backward, update, average of the weights, top-1, the resnet-rs recipe; and once in fp32 without the
average, which timm's defaults do not keep. timm's is its train script's: by default fp32, contiguous, eager;
its best flags are the fastest of --channels-last with and without --amp --amp-dtype bfloat16 and
--torchcompile; label smoothing, Nesterov SGD, images normalised beforehand. Each contender in a process of
its own.
"""

import argparse
import contextlib
import statistics
from collections.abc import Callable
from typing import Any

from harness import Contender, Step, alternate, compare, finish, serve

NETWORKS = {  # ours -> timm's name
    "resnetrs50@160": "resnetrs50",
    "resnet50@224": "resnet50",
    "efficientnet_b0@224": "efficientnet_b0",
    "regnety_040@224": "regnety_040",
}
CLASSES = 1000
PROCESSES = 3  # whose peaks of memory are compared
TIMM = {  # flags of timm's train script -> layout, bf16, compile
    "defaults": (False, False, False),
    "--channels-last": (True, False, False),
    "--channels-last --amp": (True, True, False),
    "--channels-last --torchcompile": (True, False, True),
    "--channels-last --amp --torchcompile": (True, True, True),
}


def ours(name: str, how: str, batch: int) -> Step:
    """how: `MODE PRECISION`, with ` plain` for no average."""
    from rescale import machine
    from rescale.bench import Protocol, steps
    from rescale.families import network
    from rescale.recipes import recipe, resolve

    machine.keep_memory()
    machine.set_threads(None)
    net, (mode, precision, *plain) = network(name), how.split()
    asked = resolve(recipe("resnet-rs", **({"ema": 0.0} if plain else {})), net).recipe.model_dump_json()
    protocol = Protocol(precision=precision, fast=mode)  # type: ignore[arg-type]
    step, _ = steps.prepare(net, protocol, batch, asked)
    return step


def timms(name: str, flags: str, batch: int) -> Step:
    import timm
    import torch
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    last, amp, compiled = TIMM[flags]
    pixels = int(name.split("@")[1])
    torch.manual_seed(0)
    model = timm.create_model(NETWORKS[name], num_classes=CLASSES).train()
    images = torch.randn(batch, 3, pixels, pixels)
    if last:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (batch,))
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, momentum=0.9, weight_decay=2e-5)
    loss_of = LabelSmoothingCrossEntropy(0.1)
    call = torch.compile(model) if compiled else model

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16) if amp else contextlib.nullcontext():
            loss = loss_of(call(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def maker(name: str, how: str, batch: int) -> Callable[[], Step]:
    """Import what a contender needs, and return what prepares it."""
    import torch
    import torch._dynamo  # the first optimizer imports it

    torch.set_num_threads(torch.get_num_threads())
    if how in TIMM:
        import timm  # noqa: F401

        return lambda: timms(name, how, batch)
    from rescale.bench import steps  # noqa: F401

    return lambda: ours(name, how, batch)


def contender(name: str, how: str, batch: int) -> Contender:
    return Contender(__file__, how, "--network", name, "--batch", str(batch))


def peak(name: str, how: str, batch: int) -> float:
    """MiB above import of a fresh process after a few steps."""
    one = contender(name, how, batch)
    for word in ("ready", "step", "step", "step"):
        one.ask(word)
    found = one.ask("memory") / 2**20
    one.end()
    return float(found)


def chosen(name: str, batch: int, quick: bool) -> tuple[str, list[str]]:
    """The mode and precision that `--fast auto` takes, and what it measured."""
    from rescale import machine
    from rescale.bench import Protocol, Workers, time_network
    from rescale.bench.choose import fastest
    from rescale.families import network

    precisions = machine.precisions()
    if quick:
        return f"channels_last {precisions[0]}", []
    with Workers() as workers:
        protocol = Protocol(batch=batch, warmup=2, repeats=5)
        choice = fastest(lambda p: time_network(network(name), p, ask=workers), protocol, precisions)
    return f"{choice.mode} {choice.precision}", [str(trial) for trial in choice.trials]


def measure(name: str, batch: int, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """All comparisons of one network, the default against timm's default first."""
    default, trials = chosen(name, batch, quick)
    plain = "channels_last fp32 plain"
    flags = [flag for flag in TIMM if not (quick and TIMM[flag][2])]
    warmup = 1 if quick else 2
    # timm's flags are tried first, so that few contenders share the memory in the rounds that count
    tried = {}
    for flag in flags[1:]:
        one = contender(name, flag, batch)
        tried[flag] = alternate({flag: one}, warmup=warmup, rounds=2 if quick else 4)[flag]
        one.end()
    best = min(tried, key=lambda flag: statistics.median(tried[flag]))
    hows = [default, plain, "defaults", best]
    contenders = {how: contender(name, how, batch) for how in hows}
    seconds = alternate(contenders, warmup=warmup, rounds=rounds)
    memory = {how: [one.ask("memory") / 2**20] for how, one in contenders.items()}
    for one in contenders.values():
        one.end()
    for _ in range(0 if quick else PROCESSES - 1):  # a peak moves from process to process
        for how in hows:
            memory[how].append(peak(name, how, batch))
    for how in hows:
        peaks = ", ".join(f"{mib:.0f}" for mib in sorted(memory[how]))
        print(f"{name:20s} {how:40s} {statistics.median(seconds[how]):7.3f} s  peaks {peaks} MiB", flush=True)

    def against(mine: str, theirs: str, what: str) -> list[dict[str, Any]]:
        facts = {"network": name, "how": mine, "peer_how": theirs}
        timed = compare(f"step time of {name}: {what}", seconds[mine], seconds[theirs], "s")
        small = compare(f"peak memory of {name}: {what}", memory[mine], memory[theirs], "MiB")
        return [timed | facts, small | facts]

    found = against(default, "defaults", "ours by default, timm by its defaults")
    found += against(default, best, "ours by default, timm with its best flags")
    found += against(plain, "defaults", "ours in fp32 without the average, timm by its defaults")
    found[0] |= {"chosen_from": trials, "timm_flags": {f: statistics.median(s) for f, s in tried.items()}}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one network, few rounds of a small batch, under 50 s"
    )
    parser.add_argument("--network", choices=NETWORKS, help="only this one")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    batch = asked.batch or (2 if asked.quick else 16)
    if asked.serve:
        serve(maker(asked.network, asked.serve, batch))
        return
    rounds = asked.rounds or (2 if asked.quick else 15)
    names = [asked.network] if asked.network else list(NETWORKS)[: 1 if asked.quick else None]
    first, *more = [row for name in names for row in measure(name, batch, rounds, asked.quick)]
    finish(first, batch=batch, more=more)


if __name__ == "__main__":
    main()
