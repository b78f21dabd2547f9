"""Are ResNet-RS still two to three times as fast as EfficientNets of the same accuracy, on this device?

Four parts, in under nine minutes and without data: (a) a training step of the networks of ResNet-RS's Pareto
table at its protocol (batch 128, halved until it fits, scaled to 128) in bfloat16; (b) EfficientNet-B0 and
RegNetY-500MF scaled by dWr, dwr, dw and w: step time against activations, multiply-adds and parameters, with
Pearson's r; (c) the shares of the device's peak rate and memory bandwidth, both measured here; (d) ours and
timm, where timm is installed. Writes gpu.json and gpu.html into --out. Without a GPU use --small, which takes
small networks, small batches and the CPU. Accuracies and V100 times are the paper's and marked so.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from contest import NETWORKS, timms
from gpu_page import write_page
from harness import compare, finish
from rescale import machine
from rescale.bench import TimingProtocol, time_network, worker
from rescale.bench.measure import time_steps
from rescale.bench.timing import quartiles
from rescale.cost import cost
from rescale.execution import ExecutionMode
from rescale.lookup import network
from rescale.memory import step_memory
from rescale.network import Network
from rescale.scaling import scale

# Published by the paper (Revisiting ResNets, Table 7): V100 seconds of a step of 128 images, top-1
TABLE_7 = {
    "efficientnet_b0@224": (0.47, 77.1), "efficientnet_b1@240": (0.82, 79.1),
    "resnetrs50@160": (0.31, 78.8), "efficientnet_b2@260": (1.03, 80.1),
    "resnetrs101@160": (0.48, 80.3), "efficientnet_b3@300": (1.76, 81.6),
    "resnetrs101@192": (0.70, 81.2), "resnetrs152@192": (0.99, 82.0),
    "efficientnet_b4@380": (4.00, 82.9), "resnetrs152@224": (1.48, 82.8),
    "resnetrs152@256": (1.76, 83.0), "efficientnet_b5@456": (8.16, 83.7),
    "resnetrs200@256": (2.86, 83.4), "resnetrs270@256": (3.76, 83.8),
    "efficientnet_b6@528": (15.7, 84.0), "resnetrs350@256": (4.72, 84.0),
    "efficientnet_b7@600": (29.9, 84.7), "resnetrs350@320": (8.48, 84.2),
    "resnetrs420@320": (10.16, 84.4),
}  # fmt: skip
PAIRS = (  # of matched accuracy, as paired in the table
    ("resnetrs101@160", "efficientnet_b2@260"), ("resnetrs152@224", "efficientnet_b4@380"),
    ("resnetrs152@256", "efficientnet_b4@380"), ("resnetrs270@256", "efficientnet_b5@456"),
    ("resnetrs350@256", "efficientnet_b6@528"),
)  # fmt: skip
SMALL_TABLE = {  # for a CPU, in minutes: some of the networks at about a third of the resolution
    small: TABLE_7[name]
    for small, name in (
        ("efficientnet_b0@64", "efficientnet_b0@224"), ("resnetrs50@48", "resnetrs50@160"),
        ("efficientnet_b2@80", "efficientnet_b2@260"), ("resnetrs101@48", "resnetrs101@160"),
        ("efficientnet_b4@112", "efficientnet_b4@380"), ("resnetrs152@64", "resnetrs152@224"),
    )
}  # fmt: skip
SMALL_PAIRS = (("resnetrs101@48", "efficientnet_b2@80"), ("resnetrs152@64", "efficientnet_b4@112"))
SCALED = ("efficientnet_b0", "regnety_500mf")
STRATEGIES = ("dWr", "dwr", "dw", "w")
COMPILING_S = 90  # allowed for compiling a training step, so that none is started shortly before the end


class Clock:
    """Times steps on one device until the time is used up; records what is left out."""

    def __init__(self, device: str, seconds: float, *, warmup: int, repeats: int) -> None:
        self.device, self.end, self.left_out = device, time.monotonic() + seconds, list[str]()
        precision = machine.precisions(device)[0]
        self.protocol = TimingProtocol(device=device, precision=precision, warmup=warmup, repeats=repeats)

    def over(self, what: str, *, compiled: bool = False) -> bool:
        """Is there no time left for this? If so, it is recorded as left out."""
        is_over = time.monotonic() > self.end - compiled * COMPILING_S
        if is_over:
            self.left_out.append(f"{what}: no time left")
        return is_over

    def measured(self, request: dict[str, Any]) -> dict[str, Any]:
        """Measure in this process, where all is imported, after freeing memory of earlier measurements."""
        _free_memory(self.device)
        return worker.answer(request)

    def step(self, net: Network, **changes: Any) -> dict[str, Any] | None:
        """Measurements of a training step; None if no time is left or it does not run."""
        what = f"{net.name} {net.resolution}px {changes.get('fast', '')}".strip()
        if self.over(what, compiled=ExecutionMode.parse(changes.get("fast", self.protocol.fast)).compile):
            return None
        try:
            timing = time_network(net, replace(self.protocol, **changes), ask=self.measured)
        except Exception as error:  # compiled code raises many kinds; continue with the other networks
            self.left_out.append(_in_a_line(what, error))
            return None
        on_gpu = self.device.startswith("cuda")  # on a CPU the peak includes all earlier networks
        row = {
            "network": net.name,
            "resolution": net.resolution,
            "batch": timing.batch,
            "batch_fitted": timing.batch_fitted,
            "seconds": timing.latency_s,
            "quartiles_s": timing.quartiles_s,
            "memory_bytes": timing.memory_bytes if on_gpu else None,
            "precision": timing.precision,
            "fast": timing.fast,
            **cost(net)._asdict(),
        }
        print(
            f"{what:40s} {1000 * timing.latency_s:9.1f} ms of {timing.batch} ({timing.batch_fitted} fitted)",
            flush=True,
        )
        return row


def pareto(clock: Clock, table: dict[str, tuple[float, float]], batch: int) -> list[dict[str, Any]]:
    """(a) Each network of the table with its step time and the paper's figures."""
    rows = []
    for name, (v100, top1) in table.items():
        row = clock.step(network(name), batch=batch)
        if row:
            rows.append({**row, "name": name, "paper_v100_s": v100, "paper_top1": top1})
    return rows


def speed_ups(
    rows: Iterable[dict[str, Any]], pairs: Iterable[tuple[str, str]], paper: dict[str, Any]
) -> list[dict[str, Any]]:
    """How many times as fast as its EfficientNet a ResNet-RS is: here, and on the paper's V100."""
    by_name = {row["name"]: row for row in rows}
    return [
        {
            "ours": rs,
            "peer": net,
            "ratio": round(by_name[net]["seconds"] / by_name[rs]["seconds"], 3),
            "paper_v100": round(paper[net][0] / paper[rs][0], 2),
        }
        for rs, net in pairs
        if rs in by_name and net in by_name
    ]


def scaling(
    clock: Clock, strategies: Iterable[str], factors: Iterable[float], batch: int, resolution: int | None
) -> list[dict[str, Any]]:
    """(b) Step time of scaled networks."""
    rows = []
    for name in SCALED:
        base = network(name) if resolution is None else network(name).at(resolution)
        first = clock.step(base, batch=batch)
        rows += [{**first, "base": name, "strategy": "", "factor": 1.0}] if first else []
        for strategy in strategies:
            for factor in factors:
                row = clock.step(scale(base, strategy, factor=factor), batch=batch)
                if row:
                    rows.append({**row, "base": name, "strategy": strategy, "factor": factor})
    return rows


def correlations(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Pearson's r of step time with each measure of cost, for each network scaled."""
    by_base = {}
    for name in SCALED:
        own = [row for row in rows if row["base"] == name]
        if len(own) > 2:
            seconds = [row["seconds"] for row in own]
            by_base[name] = {
                measure: round(statistics.correlation([row[measure] for row in own], seconds), 3)
                for measure in ("activations", "macs", "params")
            }
    return by_base


def peaks(device: str, precision: str, *, small: bool) -> dict[str, float]:
    """(c) Multiply-adds a second of a large matrix product, and bytes a second of a large copy."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side, numbers = (1024, 2**24) if small else (8192, 2**30)
    wait = worker.wait_for(device) if device.startswith("cuda") else lambda: None
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = min(time_steps(lambda: left @ right, warmup=5, repeats=20, wait=wait))
    source = torch.zeros(numbers, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    copy = min(time_steps(lambda: target.copy_(source), warmup=5, repeats=20, wait=wait))
    return {"macs_per_s": side**3 / product, "bytes_per_s": 2 * numbers / copy}


def shares(rows: list[dict[str, Any]], peak: dict[str, float], precision: str) -> list[dict[str, Any]]:
    """The share of the peak rate that a step reaches, and a lower bound on its share of the bandwidth.

    Three passes of the multiply-adds; the tensors that autograd keeps, written once and read once.
    """
    by_network = []
    for row in rows:
        kept = step_memory(network(row["name"]), row["batch"], precision).activations  # type: ignore[arg-type]
        by_network.append(
            {
                "name": row["name"],
                "of_peak_rate": round(
                    3 * row["macs"] * row["batch"] / row["seconds"] / peak["macs_per_s"], 4
                ),
                "of_bandwidth_at_least": round(2 * kept / row["seconds"] / peak["bytes_per_s"], 4),
            }
        )
    return by_network


def against_timm(clock: Clock, names: Iterable[str], batch: int, *, compiled: bool) -> list[dict[str, Any]]:
    """(d) Ours and timm, each with its fastest mode or flags."""
    if find_spec("timm") is None:
        clock.left_out.append("(d): timm is not installed")
        return []
    modes, flags = ["channels_last", "contiguous"], ["defaults", "channels-last amp"]
    if compiled:
        modes += ["channels_last+compile", "channels_last+graphs"]
        flags += ["channels-last amp torchcompile"]
    rows = []
    for name in names:
        our_seconds = {
            mode: row["seconds"]
            for mode in modes
            if (row := clock.step(network(name), batch=batch, fast=mode))
        }
        timm_seconds = dict(timm_steps(clock, name, batch, flags))
        if our_seconds and timm_seconds:
            best = min(our_seconds, key=our_seconds.__getitem__)
            peer = min(timm_seconds, key=timm_seconds.__getitem__)
            ratio = round(timm_seconds[peer] / our_seconds[best], 3)
            print(f"{name}: ours {best}, timm {peer}: {ratio} times as fast", flush=True)
            rows.append(
                {
                    "name": name,
                    "ours": our_seconds,
                    "timm": timm_seconds,
                    "best": best,
                    "timm_best": peer,
                    "ratio": ratio,
                }
            )
    return rows


def timm_steps(clock: Clock, name: str, batch: int, flags: Iterable[str]) -> Iterator[tuple[str, float]]:
    """Seconds of timm's training step, for each set of flags."""
    device = clock.device
    wait = worker.wait_for(device) if device.startswith("cuda") else lambda: None
    for what in flags:
        if clock.over(f"timm {name} {what}", compiled="torchcompile" in what):
            continue
        step = None  # frees the memory of the previous flags
        _free_memory(device)
        try:
            step = timms("train", name, what, batch, device)
            seconds = time_steps(
                step, warmup=clock.protocol.warmup, repeats=clock.protocol.repeats, wait=wait
            )
        except Exception as error:  # as in Clock.step
            clock.left_out.append(_in_a_line(f"timm {name} {what}", error))
            continue
        yield what, quartiles(seconds)[1]


def _in_a_line(what: str, error: Exception) -> str:
    return f"{what}: {type(error).__name__}: {error}".splitlines()[0]


def _free_memory(device: str) -> None:
    """Free memory between networks."""
    torch.compiler.reset()
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def headline(ratios: list[dict[str, Any]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The main result: step times of the pairs of matched accuracy; without values if none ran."""
    question, seconds = str(__doc__).split("\n", maxsplit=1)[0], {row["name"]: row["seconds"] for row in rows}
    if not ratios:
        return {"question": question, "ours": None, "peer": None, "ratio": None, "unit": "s a step", "n": 0}
    ours, peers = [seconds[pair["ours"]] for pair in ratios], [seconds[pair["peer"]] for pair in ratios]
    return compare(question, ours, peers, "s a step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small networks and batches, also on a CPU")
    parser.add_argument("--quick", action="store_true", help="a few of the small networks, under 50 s")
    parser.add_argument("--minutes", type=float, default=8.5, help="no measurement starts after this time")
    parser.add_argument("--out", type=Path, default=Path(), help="where gpu.json and gpu.html are written")
    options = parser.parse_args()
    device, small = machine.default_device(), options.small or options.quick
    if device == "cpu" and not small:
        parser.error("this machine has no GPU; use --small")
    machine.keep_memory()
    machine.set_threads(None)
    clock = Clock(
        device,
        35 if options.quick else 60 * options.minutes,
        warmup=1 if small else 3,
        repeats=3 if small else 7,
    )

    table, pairs, batch = (SMALL_TABLE, SMALL_PAIRS, 4) if small else (TABLE_7, PAIRS, 128)
    names = [f"{name.split('@')[0]}@64" if small else name for name in NETWORKS]
    factors = [2.0, 4.0, 8.0] if small else [2.0, 4.0, 8.0, 16.0, 32.0]
    strategies = STRATEGIES
    if options.quick:
        strategies = STRATEGIES[::3]
        table, pairs = {name: table[name] for name in SMALL_PAIRS[0]}, SMALL_PAIRS[:1]
        names, factors = names[:1], factors[1:2]

    options.out.mkdir(parents=True, exist_ok=True)
    precision = str(clock.protocol.precision)
    parts: dict[str, Any] = {"small": small, "batch": batch, "peak": peaks(device, precision, small=small)}

    def keep(**more: Any) -> None:
        """Store the results so far, in case a later part fails."""
        parts.update(more, left_out=clock.left_out)
        (options.out / "gpu.json").write_text(json.dumps(parts, indent=1))

    rows = pareto(clock, table, batch)
    ratios = speed_ups(rows, pairs, table)
    keep(pareto=rows, speed_ups=ratios, shares=shares(rows, parts["peak"], precision))
    scaled = scaling(clock, strategies, factors, 4 if small else 64, 64 if small else None)
    keep(scaling=scaled, correlations=correlations(scaled))
    keep(timm=against_timm(clock, names, batch, compiled=not small))
    results = finish(headline(ratios, rows), device, **parts)
    (options.out / "gpu.json").write_text(json.dumps(results, indent=1))
    write_page(results, options.out / "gpu.html")


if __name__ == "__main__":
    main()
