"""Calibrate this device: measure networks, save each measurement immediately, and fit a model."""

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
from rescale.latency.measuring import Plan, Visit, levelled, make_yardstick, middle, prepared, visit
from rescale.latency.model import Errors, Point, RuntimeModel
from rescale.lookup import network
from rescale.network import Network

STEPS = 10  # maximum per visit

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
"""By family, for errors with one family left out. Small or at low resolution: a step takes 10 to 500 ms."""

TOTALS: tuple[fit.Total, ...] = ("macs", "activations", "params")
FOLDS = 8
BUSY = 0.15  # cores that other processes may use during a visit

Progress = Callable[[int, int], None]


def plan_of(protocol: TimingProtocol, modes: tuple[Mode, ...], *, quick: bool = False) -> Plan:
    """The plan of a calibration.

    Args:
        protocol: device, batch, precision, threads and execution mode.
        modes: train, infer or both.
        quick: visit only every third network, once.
    """
    networks = [network(name) for names in NETWORKS.values() for name in names]
    steps = replace(protocol, warmup=2, repeats=STEPS)
    if quick:
        return Plan(tuple(networks[::3]), modes, steps, visits=1, tries=1)
    return Plan(tuple(networks), modes, steps)


def family_of(name: str) -> str:
    """The family in NETWORKS that a network name belongs to; "other" if none."""
    for family in sorted(NETWORKS, key=len, reverse=True):
        if name.startswith(family.replace("-", "")):
            return family
    return "other"


def calibrate(plan: Plan, beside: Path, progress: Progress = lambda done, of: None) -> RuntimeModel:
    """Measure what is still missing, then fit the model.

    Args:
        plan: what to measure.
        beside: file of partial results, one line per visit. An interrupted calibration continues from it and
            loses one visit at most.
        progress: called with the number of visits done and the total.

    Raises:
        UserError: the file belongs to another plan or machine, or cannot be written.
    """
    return fitted_model(plan, measure(plan, beside, progress))


def measure(plan: Plan, beside: Path, progress: Progress = lambda done, of: None) -> list[dict[str, Any]]:
    """Make the visits that the file `beside` lacks, and return all visits in it; see `calibrate`."""
    machine.set_threads(plan.protocol.threads)
    machine.use_device(plan.protocol.device)
    header = {"plan": _identity(plan), "machine": machine.describe(plan.protocol.device)}
    done = _read(beside, header)
    to_visit = in_rounds(plan)
    progress(len(done), len(to_visit))
    for net in to_visit[len(done) :]:
        done.append({**_undisturbed(partial(_visited, plan, net), plan.tries), "machine": header["machine"]})
        _append(beside, done[-1])
        progress(len(done), len(to_visit))
    return done


def in_rounds(plan: Plan) -> list[Network]:
    """The order of visits: `plan.visits` random permutations, so that drift affects all networks alike."""
    rounds = []
    for number in range(plan.visits):
        rounds += random.Random(number).sample(plan.networks, len(plan.networks))
    return rounds


def fitted_model(plan: Plan, measured: Sequence[Mapping[str, Any]]) -> RuntimeModel:
    """Fit a model to the measured visits: coefficients for each mode, with cross-validated errors."""
    times = levelled([Visit(**values) for row in measured for values in row["visits"]])
    batch = plan.protocol.batch
    coefficients, errors, points = {}, {}, []
    for mode in plan.modes:
        visits = [times[net.name, mode] for net in plan.networks]
        seconds = np.array([middle(medians) for medians in visits])
        coefficients[mode] = fit.fitted(plan.networks, seconds, batch)
        errors[mode] = {**left_out(plan.networks, seconds, batch), **repeatability(visits)}
        points += [
            Point(net.name, family_of(net.name), mode, float(value), tuple(medians))
            for net, value, medians in zip(plan.networks, seconds, visits, strict=True)
        ]
    settings = {
        **measured[0]["machine"],
        **measured[0]["used"],
        "runs_on": plan.protocol.device,
        "visits": plan.visits,
        "load_average": max(row["load_average"] for row in measured),
        "others_busy_cores": max(row["others_busy_cores"] or 0 for row in measured),
        "date": max(row["date"] for row in measured),
    }
    return RuntimeModel(settings, batch, coefficients, errors, tuple(points))


def left_out(networks: Sequence[Network], seconds: np.ndarray, batch: int) -> dict[str, dict[str, Errors]]:
    """Cross-validated errors by predictor and by what is left out of the fit.

    The predictors are work (the model of this package) and macs, activations and params (power laws in one
    total). Left out are networks, an eighth at a time, or families, one at a time.
    """
    splits: dict[str, Sequence[object]] = {
        "networks": [i % FOLDS for i in range(len(networks))],
        "families": [family_of(net.name) for net in networks],
    }
    fitters: dict[str, fit.Fitter] = {
        "work": fit.by_work(batch),
        **{total: fit.by_total(total) for total in TOTALS},
    }
    return {
        predictor: {
            split: fit.errors(fit.held_out(networks, seconds, groups, fitter), seconds)
            for split, groups in splits.items()
        }
        for predictor, fitter in fitters.items()
    }


def repeatability(visits: Sequence[Sequence[float]]) -> dict[str, dict[str, Errors]]:
    """Errors of the second visit to each network as a prediction of the first; empty if there is none."""
    pairs = np.array([medians[:2] for medians in visits if len(medians) > 1])
    return {"again": {"networks": fit.errors(pairs[:, 1], pairs[:, 0])}} if len(pairs) else {}


def _undisturbed(visited: Callable[[], dict[str, Any]], tries: int) -> dict[str, Any]:
    """Repeat a visit until other processes use at most BUSY cores; after `tries`, the least disturbed one."""
    rows: list[dict[str, Any]] = []
    while len(rows) < tries:
        rows.append(visited())
        if (rows[-1]["others_busy_cores"] or 0) <= BUSY:
            return rows[-1]
    return min(rows, key=lambda row: row["others_busy_cores"])


def _visited(plan: Plan, net: Network) -> dict[str, Any]:
    """Visit a network in each mode; returns the visits, the settings and the load of the machine."""
    from rescale.bench import worker

    device = plan.protocol.device
    wait = worker.wait_for(device) if device.startswith("cuda") else lambda: None
    yardstick = make_yardstick(device)
    load, start, busy = os.getloadavg()[0], time.perf_counter(), busy_seconds()
    visits = []
    for mode in plan.modes:
        step, protocol, used = prepared(net, plan.protocol, mode)
        visits.append(visit(net, protocol, step, yardstick, wait)._asdict())
    others = others_busy(busy, busy_seconds(), time.perf_counter() - start)
    return {
        "visits": visits,
        "used": {name: used[name] for name in ("precision", "fast")},
        "load_average": round(load, 2),
        "others_busy_cores": others if others is None else round(others, 2),
        "date": datetime.date.today().isoformat(),
    }


def _identity(plan: Plan) -> str:
    """A hash of all that determines what is measured."""
    parts = [[net.identity for net in plan.networks], plan.modes, plan.visits, asdict(plan.protocol)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _read(beside: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the finished visits. Starts the file if it is missing, and drops an incomplete last line."""
    if not beside.exists():
        _append(beside, header)
        return []
    lines = []
    for line in beside.read_text().splitlines():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    if not lines or lines[0] != header:
        raise UserError(
            f"{beside}: was started with other settings or on another machine; "
            f"remove it, or give another --out"
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
