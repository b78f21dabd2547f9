"""A calibration of this device: what is measured, kept on the way, and the model that is fitted to it."""

import contextlib
import datetime
import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rescale import machine
from rescale.bench.measure import busy_seconds, others_busy
from rescale.bench.timing import Mode, TimingProtocol
from rescale.errors import UserError
from rescale.files import write_text
from rescale.latency import fit
from rescale.latency.measuring import Plan, Visit, levelled, made_yardstick, middle, prepared, visit
from rescale.latency.model import Errors, Point, RuntimeModel
from rescale.lookup import network
from rescale.network import Network

STEPS = 10  # of a visit, at most

NETWORKS: Mapping[str, tuple[str, ...]] = {
    "resnet": (
        "resnet50@96", "resnet26x0.5@160", "resnet50x0.75@128", "resnet101x0.5@96", "resnet2-2-2-2@128",
        "resnet50d@128", "resnet26x1.5@96", "resnet3-4-6-3x0.25@224",
    ),
    "resnet-rs": (
        "resnetrs50@96", "resnetrs50x0.5@160", "resnetrs101x0.5@128", "resnetrs26x0.75@128",
        "resnetrs2-2-2-2x0.5@192", "resnetrs26@160", "resnetrs50x0.25@224",
    ),
    "resnext": (
        "resnext50_32x4d@96", "resnext50_32x4d@160", "resnext26_16x4d@128", "resnext26_8x8d@128",
        "resnext50_16x8d@96", "resnext26_32x4d@192",
    ),
    "efficientnet": (
        "efficientnet_b0@128", "efficientnet_b0@224", "efficientnet_b1@160", "efficientnet_b2@128",
        "efficientnet_b0-dWr-0.5", "efficientnet_b0-w-2@128", "efficientnet_b3@96", "efficientnet_b0-d-2@128",
    ),
    "regnetx": (
        "regnetx_002@224", "regnetx_004@224", "regnetx_006@128", "regnetx_008@160", "regnetx_016@128",
        "regnetx_032@96", "regnetx_d25w24a17.8m2.81g64@192", "regnetx_d25w40a12.6m2.296g16@144",
    ),
    "regnety": (
        "regnety_002@224", "regnety_004@160", "regnety_008@160", "regnety_016@128", "regnety_032@96",
        "regnety_500mf@128", "regnety_d25w24a20.1m2.746g16@112", "regnety_d14w64a130.5m2.669g96@96",
    ),
    "regnetz": (
        "regnetz_500mf@128", "regnetz_500mf@192", "regnetz_500mf_g1@160", "regnetz_500mf-dWr-2@128",
        "regnetz_500mf-w-0.5", "regnetz_d23w8a8.5m2.985g24@176", "regnetz_d19w16a10.6m2.313g8@112",
    ),
}  # fmt: skip
"""By family, so that one can be left out. Small, or at few pixels, so that a step takes 10 to 500 ms."""

TOTALS: tuple[fit.Total, ...] = ("macs", "activations", "params")
FOLDS = 8
BUSY = 0.15  # cores that others may use during a visit

Progress = Callable[[int, int], None]


def plan_of(protocol: TimingProtocol, modes: tuple[Mode, ...], *, quick: bool = False) -> Plan:
    """What a calibration measures. protocol: device, batch, precision, threads. quick: every third network,
    once."""
    named = [network(name) for names in NETWORKS.values() for name in names]
    chosen = named[::3] if quick else named
    steps = replace(protocol, warmup=2, repeats=STEPS)
    few = {"visits": 1, "tries": 1} if quick else {}
    return Plan(tuple(chosen), modes, steps, **few)


def family_of(name: str) -> str:
    """The family in NETWORKS of a network by name."""
    for family in sorted(NETWORKS, key=len, reverse=True):
        if name.startswith(family.replace("-", "")):
            return family
    return "other"


def calibrate(plan: Plan, beside: Path, progress: Progress = lambda done, of: None) -> RuntimeModel:
    """Measure what is missing in the file `beside`, then fit. progress: called with visits done, and all.

    A line of `beside` is the visits to one network, so that an interruption costs one at most. Raises
    UserError where the file was begun by another plan or on another machine.
    """
    measured = measure(plan, beside, progress)
    return fitted_model(plan, measured)


def measure(plan: Plan, beside: Path, progress: Progress = lambda done, of: None) -> list[dict[str, Any]]:
    """Visit what is missing in the file `beside`; all that it holds then, a mapping a visited network."""
    machine.set_threads(plan.protocol.threads)
    machine.use_device(plan.protocol.device)
    begun = {"plan": _identity(plan), "machine": machine.describe(plan.protocol.device)}
    done = _read(beside, begun)
    to_visit = in_rounds(plan)
    progress(len(done), len(to_visit))
    for one in to_visit[len(done) :]:
        done.append({**_undisturbed(partial(_visited, plan, one), plan.tries), "machine": begun["machine"]})
        _append(beside, done[-1])
        progress(len(done), len(to_visit))
    return done


def in_rounds(plan: Plan) -> list[Network]:
    """The whole list again and again, each time in another order: the machine's moods meet all networks."""
    rounds = []
    for number in range(plan.visits):
        rounds += random.Random(number).sample(plan.networks, len(plan.networks))
    return rounds


def fitted_model(plan: Plan, measured: Sequence[Mapping[str, Any]]) -> RuntimeModel:
    """The model of what was measured: a fit for each mode, and its errors by leaving out."""
    times = levelled([Visit(**each) for one in measured for each in one["visits"]])
    batch = plan.protocol.batch
    coefficients, errors, points = {}, {}, []
    for mode in plan.modes:
        visits = [times[one.name, mode] for one in plan.networks]
        seconds = np.array([middle(each) for each in visits])
        coefficients[mode] = fit.fitted(plan.networks, seconds, batch)
        errors[mode] = {**left_out(plan.networks, seconds, batch), **again(visits)}
        points += [
            Point(one.name, family_of(one.name), mode, float(value), tuple(each))
            for one, value, each in zip(plan.networks, seconds, visits, strict=True)
        ]
    used = {
        **measured[0]["machine"],
        **measured[0]["used"],
        "runs_on": plan.protocol.device,
        "visits": plan.visits,
        "load_average": max(one["load_average"] for one in measured),
        "others_busy_cores": max(one["others_busy_cores"] or 0 for one in measured),
        "date": max(one["date"] for one in measured),
    }
    return RuntimeModel(used, batch, coefficients, errors, tuple(points))


def left_out(networks: Sequence[Network], seconds: np.ndarray, batch: int) -> dict[str, dict[str, Errors]]:
    """Errors by who predicts (work: this model; macs, activations, params: a power of one total) and by what
    is left out of the fit: networks (an eighth at a time), families (one at a time)."""
    splits: dict[str, Sequence[object]] = {
        "networks": [i % FOLDS for i in range(len(networks))],
        "families": [family_of(each.name) for each in networks],
    }
    fitters: dict[str, fit.Fitter] = {
        "work": fit.by_work(batch),
        **{total: fit.by_total(total) for total in TOTALS},
    }
    return {
        who: {
            split: fit.errors(fit.held_out(networks, seconds, groups, fitter), seconds)
            for split, groups in splits.items()
        }
        for who, fitter in fitters.items()
    }


def again(visits: Sequence[Sequence[float]]) -> dict[str, dict[str, Errors]]:
    """How far a second visit to each network lies from the first; nothing where there was one visit only."""
    pairs = np.array([each[:2] for each in visits if len(each) > 1])
    return {"again": {"networks": fit.errors(pairs[:, 1], pairs[:, 0])}} if len(pairs) else {}


def _undisturbed(visited: Callable[[], dict[str, Any]], tries: int) -> dict[str, Any]:
    """A visit while others kept no more than BUSY cores busy; else the least disturbed of so many."""
    found: list[dict[str, Any]] = []
    while len(found) < tries:
        found.append(visited())
        if (found[-1]["others_busy_cores"] or 0) <= BUSY:
            return found[-1]
    return min(found, key=lambda one: one["others_busy_cores"])


def _visited(plan: Plan, one: Network) -> dict[str, Any]:
    """A visit to a network in each mode, and what was going on meanwhile."""
    from rescale.bench import worker

    device = plan.protocol.device
    wait = worker.wait_for(device) if device.startswith("cuda") else lambda: None
    yardstick = made_yardstick(device)
    load, began, busy = os.getloadavg()[0], time.perf_counter(), busy_seconds()
    visits = []
    for mode in plan.modes:
        step, protocol, used = prepared(one, plan.protocol, mode)
        visits.append(visit(one, protocol, step, yardstick, wait)._asdict())
    others = others_busy(busy, busy_seconds(), time.perf_counter() - began)
    return {
        "visits": visits,
        "used": {name: used[name] for name in ("precision", "fast")},
        "load_average": round(load, 2),
        "others_busy_cores": others if others is None else round(others, 2),
        "date": datetime.date.today().isoformat(),
    }


def _identity(plan: Plan) -> str:
    """A hash of all that decides what is measured."""
    parts = [[one.identity for one in plan.networks], plan.modes, plan.visits, asdict(plan.protocol)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _read(beside: Path, begun: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is done already; begins the file where there is none, and cuts off half a line at its end."""
    if not beside.exists():
        _append(beside, begun)
        return []
    lines = []
    for line in beside.read_text().splitlines():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    if not lines or lines[0] != begun:
        raise UserError(
            f"{beside}: was begun with other settings or on another machine; remove it, or give another --out"
        )
    write_text(beside, "".join(json.dumps(line) + "\n" for line in lines))
    return lines[1:]


def _append(beside: Path, value: Mapping[str, Any]) -> None:
    try:
        with beside.open("a") as file:
            file.write(json.dumps(value) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{beside}: cannot be written ({error.strerror})") from None
