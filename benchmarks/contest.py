"""Our step against timm's, network by network: the common part of `train_step.py` and `inference.py`.

Ours runs in the mode that `--fast auto` chooses; timm with its defaults (fp32, contiguous, eager) and with
its best flags: --channels-last, on a CPU that multiplies bfloat16 in hardware also with --amp --amp-dtype
bfloat16 (elsewhere it takes ten times as long), the fastest of these also with --torchcompile. Each contender
has its own process.
"""

import argparse
import contextlib
import math
import statistics
from collections.abc import Callable
from typing import Any, Literal

from harness import Contender, Step, alternate, compare, finish, serve

Mode = Literal["train", "infer"]

NETWORKS = ("resnetrs50@160", "resnet50@224", "efficientnet_b0@224", "regnety_040@224")  # timm's names, too
CLASSES = 1000
TIMM = {  # flags of timm's scripts -> layout, bf16, compile
    "defaults": (False, False, False),
    "channels-last": (True, False, False),
    "channels-last amp": (True, True, False),
    "channels-last torchcompile": (True, False, True),
    "channels-last amp torchcompile": (True, True, True),
}
PLAIN = "channels_last fp32 plain"  # ours with timm's defaults: no weight average


def ours(mode: Mode, name: str, how: str, batch: int) -> Step:
    """Our step. how: `FAST PRECISION`, with ` plain` for no weight average."""
    from rescale import machine
    from rescale.bench import TimingProtocol, steps
    from rescale.lookup import network
    from rescale.recipes import recipe, resolve

    machine.keep_memory()
    machine.set_threads(None)
    net, (fast, precision, *plain) = network(name), how.split()
    changes = {"ema": 0.0} if plain else {}
    recipe_json = resolve(recipe("resnet-rs", **changes), net).recipe.model_dump_json()
    protocol = TimingProtocol(mode=mode, precision=precision, fast=fast)  # type: ignore[arg-type]
    step, _ = steps.prepare(net, protocol, batch, recipe_json)
    return step


def timms(mode: Mode, name: str, flags: str, batch: int, device: str = "cpu") -> Step:
    """A step as in timm's scripts, on random images."""
    import timm
    import torch

    last, amp, compiled = TIMM[flags]
    theirs, pixels = name.split("@")
    torch.manual_seed(0)
    model = timm.create_model(theirs, num_classes=CLASSES).train(mode == "train").to(device)
    images = torch.randn(batch, 3, int(pixels), int(pixels), device=device)
    if last:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    call = torch.compile(model) if compiled else model

    def autocast() -> Any:
        return (
            torch.autocast(device.split(":", maxsplit=1)[0], torch.bfloat16)
            if amp
            else contextlib.nullcontext()
        )

    def infer() -> None:
        with torch.inference_mode(), autocast():
            call(images)

    if mode == "infer":
        return infer

    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    labels = torch.randint(CLASSES, (batch,), device=device)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, momentum=0.9, weight_decay=2e-5)
    loss_of = LabelSmoothingCrossEntropy(0.1)

    def step() -> None:
        with autocast():
            loss = loss_of(call(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def maker(mode: Mode, name: str, how: str, batch: int) -> Callable[[], Step]:
    """Import what a contender needs, and return a function that prepares its step."""
    import torch
    import torch._dynamo  # the first optimizer imports it

    torch.set_num_threads(torch.get_num_threads())
    if how in TIMM:
        import timm  # noqa: F401

        return lambda: timms(mode, name, how, batch)
    from rescale.bench import steps  # noqa: F401

    return lambda: ours(mode, name, how, batch)


def chosen(mode: Mode, name: str, batch: int, *, quick: bool, eager: bool) -> tuple[str, list[str]]:
    """The mode and precision that `--fast auto` chooses, and its measurements."""
    from rescale import machine
    from rescale.bench import Server, TimingProtocol, time_network
    from rescale.bench.choose import fastest
    from rescale.lookup import network

    precisions = machine.precisions()
    if quick:
        return f"channels_last {precisions[0]}", []
    with Server() as server:
        protocol = TimingProtocol(mode=mode, batch=batch)
        steps = 1 if eager else math.inf  # compiling is tried only for a long run
        choice = fastest(
            lambda p: time_network(network(name), p, ask=server), protocol, precisions, steps=steps
        )
    return f"{choice.mode} {choice.precision}", [str(trial) for trial in choice.trials]


class Contest:
    """Contenders of one script, mode, network and batch that differ in how they run."""

    def __init__(self, script: str, mode: Mode, name: str, batch: int, *, quick: bool, eager: bool) -> None:
        self.script, self.mode, self.name, self.batch = script, mode, name, batch
        self.quick, self.eager = quick, eager  # compiling takes minutes
        self.warmup = 1 if quick else 2

    def contender(self, how: str) -> Contender:
        return Contender(self.script, how, "--network", self.name, "--batch", str(self.batch))

    def peak(self, how: str) -> float:
        """Peak memory of a new process above its level after imports, after a few steps, in MiB."""
        contender = self.contender(how)
        for word in ("ready", "step", "step", "step"):
            contender.ask(word)
        peak = contender.ask("memory") / 2**20
        contender.end()
        return float(peak)

    def best_flags(self) -> dict[str, float]:
        """Seconds of timm's step by flags, the fastest first; the faster eager flags are also compiled."""
        from rescale import machine

        eager = ["channels-last", *(["channels-last amp"] if machine.native_bf16() else [])]
        seconds = {flags: self.tried(flags) for flags in eager}
        if not self.eager:
            compiled = min(seconds, key=seconds.__getitem__) + " torchcompile"
            seconds[compiled] = self.tried(compiled)
        return dict(sorted(seconds.items(), key=lambda item: item[1]))

    def tried(self, flags: str) -> float:
        """The median of a few steps while no other contender runs."""
        contender = self.contender(flags)
        seconds = alternate({flags: contender}, warmup=self.warmup, rounds=2 if self.quick else 5)[flags]
        contender.end()
        return round(statistics.median(seconds), 6)

    def measure(self, rounds: int, processes: int) -> list[dict[str, Any]]:
        """All comparisons; the first is ours by default against timm's defaults."""
        default, trials = chosen(self.mode, self.name, self.batch, quick=self.quick, eager=self.eager)
        flags = {} if self.quick else self.best_flags()
        best = next(iter(flags), "channels-last amp")
        plain = [PLAIN] if self.mode == "train" and not self.quick else []
        hows = [default, *plain, "defaults", best]
        contenders = {how: self.contender(how) for how in hows}
        seconds = alternate(contenders, warmup=self.warmup, rounds=rounds)
        memory = {how: [contender.ask("memory") / 2**20] for how, contender in contenders.items()}
        for contender in contenders.values():
            contender.end()
        for _ in range(processes - 1):  # the peak varies between processes
            for how in hows:
                memory[how].append(self.peak(how))
        for how in hows:
            peaks = ", ".join(f"{mib:.0f}" for mib in sorted(memory[how]))
            print(
                f"{self.name:20s} {how:32s} {statistics.median(seconds[how]):7.3f} s  {peaks} MiB", flush=True
            )

        def against(mine: str, theirs: str, what: str) -> list[dict[str, Any]]:
            facts = {"network": self.name, "how": mine, "peer_how": theirs}
            where = f"{self.mode} step of {self.name}, {what}"
            timed = compare(where, seconds[mine], seconds[theirs], "s")
            small = compare(f"{where}: peak memory", memory[mine], memory[theirs], "MiB")
            return [timed | facts, small | facts]

        rows = against(default, "defaults", "ours by default, timm by its defaults")
        rows += against(default, best, "ours by default, timm with its best flags")
        if plain:
            rows += against(PLAIN, "defaults", "ours in fp32 without the average, timm by its defaults")
        rows[0] |= {"chosen_from": trials, "timm_flags": flags}
        return rows


def run(script: str, mode: Mode, description: str) -> None:
    """Run the script: as a contender, or the whole contest."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one network, few small batches, under 50 s")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="only this network; repeatable")
    parser.add_argument("--eager", action="store_true", help="no compilation, for ours and for timm")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--processes", type=int, default=2, help="processes whose memory peaks are compared")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    batch = options.batch or (2 if options.quick else 16)
    if options.serve:
        serve(maker(mode, options.network[0], options.serve, batch))
        return
    rounds = options.rounds or (2 if options.quick else 11)
    names = options.network or NETWORKS[: 1 if options.quick else None]
    contests = [
        Contest(script, mode, name, batch, quick=options.quick, eager=options.eager or options.quick)
        for name in names
    ]
    processes = 1 if options.quick else options.processes
    first, *more = [row for contest in contests for row in contest.measure(rounds, processes)]
    finish(first, batch=batch, compiled=not (options.eager or options.quick), more=more)
