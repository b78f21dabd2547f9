"""Random search in RegNet's design space for networks of a given cost (Fast and Accurate Model Scaling)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np

from rescale.cost import Cost, cost
from rescale.errors import UserError
from rescale.families.regnet import regnet, runs
from rescale.network import Network, problems, to_yaml
from rescale.scaling import Measure

CHUNK = 20_000
HOPELESS = 100_000  # candidates without a single network in the band
STAGES = 4
BAND = 0.05  # the paper searches "a regime" and does not print its width: this project's

Range = tuple[float, float]


@dataclass(frozen=True)
class Space:
    """The distributions of candidates. Ranges are inclusive.

    depth: uniform. w0, wa, wm, group: log-uniform in steps of 8, 0.1, 0.001 and 8; group 8 at least, so
    the 4 of the paper's smallest networks needs another range (group=(4, 4)). resolution: uniform in
    steps of 16; the paper searches it too but prints no range (240 and 256 were found), so the range is this
    project's.
    """

    kind: Literal["x", "y", "z"] = "y"
    depth: Range = (12, 28)
    w0: Range = (8, 256)
    wa: Range = (8, 256)
    wm: Range = (2, 3)
    group: Range = (8, 128)
    resolution: Range = (160, 320)

    def __post_init__(self) -> None:
        wrong = [
            f"{name} {low:g}..{high:g}: from a number above 0 to one not below it"
            for name in ("depth", "w0", "wa", "wm", "group", "resolution")
            for low, high in [getattr(self, name)]
            if not 0 < low <= high
        ]
        if self.wm[0] <= 1:
            wrong.append(f"wm {self.wm[0]:g}..{self.wm[1]:g}: above 1")
        if wrong:
            raise UserError(*wrong)


@dataclass(frozen=True)
class Found:
    """The result of a search. drawn: number of candidates; valid: those that are RegNets of four stages.

    seconds: predicted, of each network where the search had a latency as its budget, else empty.
    """

    networks: tuple[Network, ...]
    costs: tuple[Cost, ...]
    drawn: int
    valid: int
    seconds: tuple[float, ...] = ()


def search(
    space: Space,
    budget: Mapping[str, float],
    samples: int = 32,
    seed: int = 0,
    band: float = BAND,
    hints: bool = False,
    most: int = 2_000_000,
    predict: Measure | None = None,
) -> Found:
    """Sample until `samples` different networks are within `band` of each measure of the budget.

    budget: of macs, params, activations, any; absolute numbers of one image; of latency, in the seconds
    that `predict` gives a network. band: the share by which a measure may differ from its budget.
    hints: also keep parameters under 3 + 5.5 F million and activations under 6.5 sqrt(F) million, F the
    billions of multiply-adds (a comment in the authors' code, for X and Y at 224 pixels; the paper's own
    networks break it). The same seed finds the same networks. Raises UserError if `most` draws are not
    enough.
    """
    if not budget or any(not value > 0 for value in budget.values()):
        raise UserError("a search needs a budget above 0: macs, params, activations or latency")
    if not 0 < band < 1:
        raise UserError(f"band {band:g}: a share between 0 and 1")
    measures = [(_measure(name, predict), (1 - band) * v, (1 + band) * v) for name, v in budget.items()]
    networks: dict[str, Network] = {}
    costs: list[Cost] = []
    valid, least, largest = 0, inf, 0.0
    for drawn, candidate in enumerate(candidates(space, np.random.default_rng(seed)), start=1):
        if candidate is not None:
            valid += 1
            priced = cost(candidate)
            first = measures[0][0](candidate, priced)
            least, largest = min(least, first), max(largest, first)
            inside = all(low <= measure(candidate, priced) <= high for measure, low, high in measures)
            new = inside and (not hints or _hinted(priced)) and candidate.name not in networks
            if new and not problems(candidate):
                networks[candidate.name] = candidate
                costs.append(priced)
        if len(networks) == samples:
            seconds = tuple(map(predict, networks.values())) if predict else ()
            return Found(tuple(networks.values()), tuple(costs), drawn, valid, seconds)
        if drawn == most or (drawn == HOPELESS and not networks):
            break
    first_budget = next(iter(budget))
    what = "seconds" if first_budget == "latency" else first_budget
    raise UserError(
        f"{len(networks)} of {samples} networks found in {drawn:,} draws, which have {least:.3g} to "
        f"{largest:.3g} {what}; widen the band, change the budget or ask for fewer"
    )


def _measure(name: str, predict: Measure | None) -> Callable[[Network, Cost], float]:
    """The value of a network that a budget limits."""
    if name == "latency":
        if predict is None:
            raise UserError("a search by latency needs what predicts it: predict=")
        return lambda network, _: predict(network)
    at = Cost._fields.index(name)
    return lambda _, priced: priced[at]


def _hinted(priced: Cost) -> bool:
    billions = priced.macs / 1e9
    return priced.params < (3 + 5.5 * billions) * 1e6 and priced.activations < 6.5 * billions**0.5 * 1e6


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
    drawn = np.exp(rng.uniform(np.log(low - min(step, low / 2)), np.log(high), CHUNK))
    return np.minimum(np.ceil(drawn / step) * step, high)


def _four_stages(depth: np.ndarray, w0: np.ndarray, wa: np.ndarray, wm: np.ndarray) -> np.ndarray:
    """Which parameters give the levels 0, 1, 2, 3 without a gap: a fast test of thousands at once."""
    block = np.arange(depth.max())[:, None]
    levels = np.rint(np.log((w0 + wa * block) / w0) / np.log(wm))
    levels[block >= np.broadcast_to(depth, levels.shape)] = -1
    return (levels.max(0) == STAGES - 1) & (levels == 1).any(0) & (levels == 2).any(0)


def _network(
    kind: str, depth: int, w0: float, wa: float, wm: float, group: float, resolution: int
) -> Network | None:
    numbers = int(depth), int(w0), round(float(wa), 1), round(float(wm), 3)
    grouped = runs(*numbers)
    if grouped is None or len(grouped) != STAGES:
        return None
    return regnet(kind, *numbers, int(group), int(resolution))


def write(result: Found, folder: Path) -> None:
    """Write each network as YAML into a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for network in result.networks:
            (folder / f"{network.name}.yaml").write_text(to_yaml(network))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
