"""Random search in RegNet's design space for networks of a given cost (Fast and Accurate Model Scaling)."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from rescale.cost import Cost, cost
from rescale.errors import UserError, plural
from rescale.families.regnet import regnet, runs
from rescale.network import Network, problems, to_yaml
from rescale.scaling import Measure

CHUNK = 20_000
DRAWS_WITHOUT_MATCH = 100_000  # the search stops if none of these candidates matches
STAGES = 4
CHOICE, FEWEST = 8, 200  # candidates just below a latency: for each network that is taken; at least in all
DRAWS = 10_000  # candidates after which a search below a latency takes what it has
ENOUGH = 3  # measurements that can correct the predictions of other networks
CLOSE, SLOWEST = (
    0.7,
    1.5,
)  # shares of the latency: just below it; worth keeping, should predictions be too high
BAND = 0.05  # this project's choice: the paper searches "a regime" and does not give its width

Range = tuple[float, float]


@dataclass(frozen=True)
class Space:
    """The distributions of the candidates. Ranges are inclusive.

    depth: uniform. w0, wa, wm, group: log-uniform in steps of 8, 0.1, 0.001 and 8. The smallest group is 8;
    for the 4 of the paper's smallest networks, use group=(4, 4). resolution: uniform in steps of 16; the
    paper also searches it but gives no range (it found 240 and 256), so the range is this project's choice.
    """

    kind: Literal["x", "y", "z"] = "y"
    depth: Range = (12, 28)
    w0: Range = (8, 256)
    wa: Range = (8, 256)
    wm: Range = (2, 3)
    group: Range = (8, 128)
    resolution: Range = (160, 320)

    def __post_init__(self) -> None:
        mistakes = [
            f"{name} {low:g}..{high:g}: expected 0 < low <= high"
            for name in ("depth", "w0", "wa", "wm", "group", "resolution")
            for low, high in [getattr(self, name)]
            if not 0 < low <= high
        ]
        if self.wm[0] <= 1:
            mistakes.append(f"wm {self.wm[0]:g}..{self.wm[1]:g}: above 1")
        if mistakes:
            raise UserError(*mistakes)


@dataclass(frozen=True)
class Found:
    """The result of a search.

    drawn: number of candidates. valid: number of candidates that are RegNets of four stages. seconds: the
    predicted time of each network; empty unless the search used a predictor. measured: the measured time of
    each; empty if none was measured. too_slow: networks that were measured and are slower than the limit.
    """

    networks: tuple[Network, ...]
    costs: tuple[Cost, ...]
    drawn: int
    valid: int
    seconds: tuple[float, ...] = ()
    measured: tuple[float, ...] = ()
    too_slow: int = 0


def search(
    space: Space,
    budget: Mapping[str, float],
    samples: int = 32,
    seed: int = 0,
    band: float = BAND,
    hints: bool = False,
    most: int = 2_000_000,
) -> Found:
    """Sample until `samples` different networks are within `band` of each measure of the budget.

    The same seed gives the same networks.

    Args:
        space: the distributions of the candidates.
        budget: one or more of macs, params and activations, per image.
        samples: number of networks to find.
        seed: of the random numbers.
        band: largest relative difference between a measure and its budget.
        hints: also require less than 3 + 5.5 F million parameters and 6.5 sqrt(F) million activations, where
            F is the multiply-adds in billions. The limits are from a comment in the authors' code, for X and
            Y at 224 pixels; the paper's own networks exceed them.
        most: largest number of candidates.

    Raises:
        UserError: the budget or the band is invalid, or `most` candidates are not enough.
    """
    if not budget:
        raise UserError("a search needs a budget above 0: macs, params, activations or latency")
    limits = _limits(budget, band)
    first_budget = next(iter(budget))
    networks: dict[str, Network] = {}
    costs: list[Cost] = []
    valid, smallest, largest = 0, inf, 0.0
    for drawn, candidate in enumerate(candidates(space, np.random.default_rng(seed)), start=1):
        if candidate is not None:
            valid += 1
            counted = cost(candidate)
            first_value = getattr(counted, first_budget)
            smallest, largest = min(smallest, first_value), max(largest, first_value)
            new = candidate.name not in networks and _meets(counted, limits, hints)
            if new and not problems(candidate):
                networks[candidate.name] = candidate
                costs.append(counted)
        if len(networks) == samples:
            return Found(tuple(networks.values()), tuple(costs), drawn, valid)
        if drawn == most or (drawn == DRAWS_WITHOUT_MATCH and not networks):
            break
    raise UserError(
        f"{len(networks)} of {plural(samples, 'network')} found in {drawn:,} draws, which have "
        f"{smallest:.3g} to {largest:.3g} {first_budget}; widen the band, change the budget or search for "
        f"fewer"
    )


class _Candidate(NamedTuple):
    network: Network
    counted: Cost
    seconds: float  # predicted


def search_within(
    space: Space,
    latency_s: float,
    predict: Measure,
    samples: int = 32,
    seed: int = 0,
    *,
    budget: Mapping[str, float] | None = None,
    band: float = BAND,
    hints: bool = False,
    most: int = 200_000,
    measure: Measure | None = None,
) -> Found:
    """Find the networks with the most multiply-adds whose time is at most `latency_s`.

    Within one design space more multiply-adds at the same time are the best guess at accuracy that needs no
    training. Candidates are drawn until many more than wanted lie just below the limit, and the largest are
    taken. With `measure` they are timed from the largest on: those that are too slow are left
    out, and the predictions of all others are corrected by the median of measured / predicted.

    Args:
        space: the distributions of the candidates.
        latency_s: the largest time in seconds, of what `predict` and `measure` return.
        predict: the predicted time of a network in seconds.
        samples: number of networks to find.
        seed: of the random numbers.
        budget: further budgets, as in `search`.
        band: largest relative difference between a measure and its budget.
        hints: also apply the authors' limits, as in `search`.
        most: largest number of candidates.
        measure: the measured time of a network in seconds; None to trust the prediction.

    Returns:
        The networks by falling multiply-adds: fewer than `samples` if no more are fast enough.

    Raises:
        UserError: a limit is invalid, or no network is fast enough.
    """
    if not latency_s > 0:
        raise UserError(f"a search needs a latency above 0, not {latency_s:g} s")
    limits = _limits(budget or {}, band)
    pool: dict[str, _Candidate] = {}
    valid, close, fastest = 0, 0, inf
    for drawn, network in enumerate(candidates(space, np.random.default_rng(seed)), start=1):
        if network is not None:
            valid += 1
            seconds, counted = predict(network), cost(network)
            fastest = min(fastest, seconds)
            fits = seconds <= SLOWEST * latency_s and _meets(counted, limits, hints)
            if fits and network.name not in pool and not problems(network):
                pool[network.name] = _Candidate(network, counted, seconds)
                close += CLOSE * latency_s <= seconds <= latency_s
        enough = close >= max(FEWEST, CHOICE * samples) or (drawn >= DRAWS and len(pool) >= samples)
        if enough or drawn == most or (drawn == 2 * DRAWS and not pool):
            break
    ranked = sorted(pool.values(), key=lambda candidate: -candidate.counted.macs)
    chosen, measured, too_slow = _chosen(ranked, latency_s, samples, measure)
    if not chosen:
        reason = f"measured: {too_slow}, all slower" if too_slow else f"the fastest takes {fastest:.3g} s"
        raise UserError(
            f"none of {valid:,} networks takes at most {latency_s:.3g} s ({reason}); "
            "raise the latency, or search at lower resolutions"
        )
    networks, costs, seconds_of = zip(*chosen, strict=True)
    return Found(networks, costs, drawn, valid, seconds_of, tuple(measured), too_slow)


def _chosen(
    ranked: list[_Candidate], latency_s: float, samples: int, measure: Measure | None
) -> tuple[list[_Candidate], list[float], int]:
    """The first candidates that are fast enough, their measured times, and how many were too slow."""
    if measure is None:
        return [candidate for candidate in ranked if candidate.seconds <= latency_s][:samples], [], 0
    left, too_slow = list(ranked), 0
    ratios: list[float] = []  # measured / predicted
    timed: list[tuple[_Candidate, float]] = []
    while len(timed) < samples and too_slow <= samples:
        correction = statistics.median(ratios) if len(ratios) >= ENOUGH else 1.0
        place = next((i for i, one in enumerate(left) if correction * one.seconds <= latency_s), None)
        if place is None:
            break
        candidate = left.pop(place)
        seconds = measure(candidate.network)
        ratios.append(seconds / candidate.seconds)
        if seconds <= latency_s:
            timed.append((candidate, seconds))
        else:
            too_slow += 1
    timed.sort(key=lambda pair: -pair[0].counted.macs)
    return [candidate for candidate, _ in timed], [seconds for _, seconds in timed], too_slow


def _limits(budget: Mapping[str, float], band: float) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of each measure. Raises UserError for a value out of range."""
    if any(not value > 0 for value in budget.values()):
        raise UserError("a search needs a budget above 0: macs, params, activations or latency")
    if not 0 < band < 1:
        raise UserError(f"band {band:g}: a share between 0 and 1")
    return {name: ((1 - band) * value, (1 + band) * value) for name, value in budget.items()}


def _meets(counted: Cost, limits: Mapping[str, tuple[float, float]], hints: bool) -> bool:
    """Whether a cost lies within the limits, and below the authors' if `hints` is set."""
    inside = all(low <= getattr(counted, name) <= high for name, (low, high) in limits.items())
    return inside and (not hints or _within_hints(counted))


def _within_hints(counted: Cost) -> bool:
    """Whether parameters and activations are below the limits in the authors' code."""
    billions = counted.macs / 1e9
    return counted.params < (3 + 5.5 * billions) * 1e6 and counted.activations < 6.5 * billions**0.5 * 1e6


def candidates(space: Space, rng: np.random.Generator) -> Iterator[Network | None]:
    """An endless stream of candidates; None for parameters that do not give a RegNet of four stages."""
    while True:
        depth = rng.integers(int(space.depth[0]), int(space.depth[1]), CHUNK, endpoint=True)
        w0 = _log_uniform(rng, space.w0, 8)
        wa = _log_uniform(rng, space.wa, 0.1)
        wm = _log_uniform(rng, space.wm, 0.001)
        group = _log_uniform(rng, space.group, 8 if space.group[1] >= 8 else 1)
        low, high = (round(side / 16) for side in space.resolution)
        resolution = rng.integers(low, high, CHUNK, endpoint=True) * 16
        fits = _four_stages(depth, w0, wa, wm)
        for i in range(CHUNK):
            yield (
                _network(space.kind, depth[i], w0[i], wa[i], wm[i], group[i], resolution[i])
                if fits[i]
                else None
            )


def _log_uniform(rng: np.random.Generator, limits: Range, step: float) -> np.ndarray:
    """Log-uniform in (low - min(step, low / 2), high], rounded up to the step."""
    low, high = limits
    if low == high:
        return np.full(CHUNK, low)
    values = np.exp(rng.uniform(np.log(low - min(step, low / 2)), np.log(high), CHUNK))
    return np.minimum(np.ceil(values / step) * step, high)


def _four_stages(depth: np.ndarray, w0: np.ndarray, wa: np.ndarray, wm: np.ndarray) -> np.ndarray:
    """Which parameters give the levels 0, 1, 2, 3 without a gap: a fast test of thousands at once."""
    block = np.arange(depth.max())[:, None]
    levels = np.rint(np.log((w0 + wa * block) / w0) / np.log(wm))
    levels[block >= np.broadcast_to(depth, levels.shape)] = -1
    return (levels.max(0) == STAGES - 1) & (levels == 1).any(0) & (levels == 2).any(0)


def _network(
    kind: str, depth: int, w0: float, wa: float, wm: float, group: float, resolution: int
) -> Network | None:
    parameters = int(depth), int(w0), round(float(wa), 1), round(float(wm), 3)
    stages = runs(*parameters)
    if stages is None or len(stages) != STAGES:
        return None
    return regnet(kind, *parameters, int(group), int(resolution))


def write(result: Found, folder: Path) -> None:
    """Write each network as YAML into a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for network in result.networks:
            (folder / f"{network.name}.yaml").write_text(to_yaml(network))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
