"""The fit: seconds as a sum of work times non-negative coefficients; its error; single totals beside it."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from rescale.cost import Cost, cost
from rescale.latency.model import Errors
from rescale.latency.work import FIXED, WORK, work
from rescale.network import Network

RIDGE = 1e-4  # against sets of columns that say the same; of the mean square of a column
OUTLIER = 0.06  # relative error from which on a point counts less
ROUNDS = 5

Total = Literal["macs", "params", "activations"]
Predict = Callable[[Sequence[Network]], np.ndarray]
Fitter = Callable[[Sequence[Network], np.ndarray], Predict]


def amounts(networks: Sequence[Network], batch: int) -> np.ndarray:
    """Work of a step, [networks, kinds]: what is done for each image times the batch."""
    found = np.array([work(network) for network in networks], dtype=float)
    found[:, :FIXED] *= batch
    return found


def coefficients(table: np.ndarray, seconds: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """Non-negative seconds a unit for each column of `table` [n, kinds], by least squares of the relative
    error; points that are further off than OUTLIER count as their absolute error (Huber)."""
    from scipy.optimize import nnls

    relative = table / seconds[:, None]
    size = np.sqrt((relative**2).mean(0))
    size[size == 0] = 1
    columns = relative / size
    shrink = np.sqrt(ridge * len(seconds)) * np.eye(len(size))
    weights = np.ones(len(seconds))
    for _ in range(ROUNDS):
        left = np.vstack([columns * weights[:, None], shrink])
        found, _ = nnls(left, np.concatenate([weights, np.zeros(len(size))]), maxiter=100 * len(size))
        off = np.abs(columns @ found - 1)
        weights = np.sqrt(np.minimum(1, OUTLIER / np.maximum(off, 1e-9)))
    return found / size


def fitted(networks: Sequence[Network], seconds: np.ndarray, batch: int) -> dict[str, float]:
    """Coefficients by kind of work."""
    found = coefficients(amounts(networks, batch), seconds)
    return dict(zip(WORK, map(float, found), strict=True))


def by_work(batch: int) -> Fitter:
    """What fits this project's model."""

    def fit(networks: Sequence[Network], seconds: np.ndarray) -> Predict:
        found = coefficients(amounts(networks, batch), seconds)
        return lambda others: amounts(others, batch) @ found

    return fit


def by_total(total: Total) -> Fitter:
    """What fits a power of one total, a * total^b: the baseline to beat."""
    at = Cost._fields.index(total)

    def logs(networks: Sequence[Network]) -> np.ndarray:
        return np.log([cost(network)[at] for network in networks])

    def fit(networks: Sequence[Network], seconds: np.ndarray) -> Predict:
        power, factor = np.polyfit(logs(networks), np.log(seconds), 1)
        return lambda others: np.exp(power * logs(others) + factor)

    return fit


def held_out(
    networks: Sequence[Network], seconds: np.ndarray, groups: Sequence[object], fitter: Fitter
) -> np.ndarray:
    """Predictions for each network by a fit to the networks of all other groups."""
    found = np.empty(len(seconds))
    for group in set(groups):
        out = np.array([each == group for each in groups])
        others = [network for network, left in zip(networks, out, strict=True) if not left]
        found[out] = fitter(others, seconds[~out])([n for n, left in zip(networks, out, strict=True) if left])
    return found


def errors(predicted: np.ndarray, measured: np.ndarray) -> Errors:
    """How far predictions [n] lie from what was measured [n]."""
    from scipy.stats import spearmanr

    off = np.abs(predicted / measured - 1)
    rank = spearmanr(predicted, measured).statistic if len(off) > 2 else np.nan
    return Errors(
        len(off), float(np.median(off)), float(np.quantile(off, 0.9)), float(np.mean(off <= 0.1)), float(rank)
    )
