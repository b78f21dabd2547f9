"""Is counting cost by arithmetic faster than counting on a built module, and is building no slower?

Measured: resnetrs152@256 against torch's own flop counter on the meta device (no memory for weights),
including the time to build, since a module must exist to be counted, and against fvcore, which cannot trace
on the meta device, on a module built beforehand; `rescale cost` of 50 names as a process; networks counted
per second on one core; 100,000 candidates of a search; building regnety_160 against timm. Contenders
alternate in one process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness import compare, finish
from rescale.bench.timing import quartiles
from rescale.cost import cost
from rescale.lookup import names, network
from rescale.models import build
from rescale.search import Space, candidates

try:
    from fvcore.nn import FlopCountAnalysis
except ImportError:
    FlopCountAnalysis = None

COUNTED, BUILT = "resnetrs152@256", "regnety_160"
LIMIT_S, LEAST_PER_S = 0.5, 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, under 50 s")
    rounds = 3 if parser.parse_args().quick else 10
    torch.set_num_threads(1)
    results = [*counting(rounds), process(rounds), throughput(rounds), searching(), building(rounds)]
    for result in results:
        print(json.dumps(result))
    finish(results[0], also=results[1:], threads=1)


def counting(rounds: int) -> list[dict[str, Any]]:
    """Our arithmetic, starting from the name, against torch's counter and fvcore."""
    peers = {"torch's flop counter, meta device": by_torch}
    if FlopCountAnalysis is None:
        print("fvcore is not installed (pip install fvcore): left out", file=sys.stderr)
    else:
        peers["fvcore, module built"] = by_fvcore
    results = []
    for name, peer in peers.items():
        ours, theirs = pairs(lambda: cost(network(COUNTED)), peer, rounds, inner=100)
        results.append(compare(f"Counting {COUNTED}: arithmetic against {name}", ours, theirs, "ms"))
    return results


def by_torch() -> float:
    """Build timm's network without memory and count with torch's dispatch mode."""
    with torch.device("meta"):
        model, images = timm.create_model("resnetrs152").eval(), torch.empty(1, 3, 256, 256)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images)
    return counter.get_total_flops()


@cache
def on_the_cpu() -> torch.nn.Module:
    """A module to count. It is built once, because initialising its weights takes most of the time."""
    return timm.create_model("resnetrs152").eval()


def by_fvcore() -> float:
    """Count with fvcore, which runs the network."""
    counter = FlopCountAnalysis(on_the_cpu(), torch.zeros(1, 3, 256, 256))
    return counter.unsupported_ops_warnings(False).total()


def process(rounds: int) -> dict[str, Any]:
    """`rescale cost` of 50 names, with the start of the process."""
    command = [sys.executable, "-m", "rescale", "cost", *names()[:50], "--json"]
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    limit = [LIMIT_S] * rounds
    return compare("`rescale cost` of 50 names as a process, against its limit", seconds[1:], limit, "s")


def throughput(rounds: int) -> dict[str, Any]:
    """Networks counted per second, sampled by the search and named ones."""
    drawn = list(islice(filter(None, candidates(Space("y"), np.random.default_rng(0))), 2000))
    nets = [*drawn, *(network(name) for name in names())]
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        for net in nets:
            cost(net)
        rates.append(len(nets) / (time.perf_counter() - began))
    first, middle, third = quartiles([rate / LEAST_PER_S for rate in rates])
    return {
        "question": "Networks counted per second on one core, against the goal",
        "ours": round(statistics.median(rates)), "peer": LEAST_PER_S, "ratio": round(middle, 3),
        "unit": "networks/s", "n": rounds, "spread": [round(first, 3), round(third, 3)],
    }  # fmt: skip


def searching() -> dict[str, Any]:
    """100,000 candidates sampled, checked and counted, against the goal of 5 s."""
    seconds = []
    for seed in range(3):
        began = time.perf_counter()
        drawn = candidates(Space("y"), np.random.default_rng(seed))
        for net in islice(drawn, 100_000):
            if net is not None:
                cost(net)
        seconds.append(time.perf_counter() - began)
    return compare("100,000 candidates of the search on one core, against the goal", seconds, [5.0] * 3, "s")


def building(rounds: int) -> dict[str, Any]:
    """Build a module and initialise its weights."""
    ours, theirs = pairs(lambda: build(network(BUILT)), lambda: timm.create_model(BUILT), rounds)
    return compare(f"Building {BUILT} against timm, weights initialised", ours, theirs, "ms")


def pairs(
    ours: Callable[[], object], peer: Callable[[], object], rounds: int, inner: int = 1
) -> tuple[list[float], list[float]]:
    """Milliseconds of both, A B A B, after one of each; ours is the mean of `inner` calls."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(rounds + 1):
        for call, calls, into in ((ours, inner, times[0]), (peer, 1, times[1])):
            began = time.perf_counter()
            for _ in range(calls):
                call()
            if round_:
                into.append(1000 * (time.perf_counter() - began) / calls)
    return times


if __name__ == "__main__":
    main()
