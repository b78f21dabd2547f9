"""Fit step times as non-negative combinations of work, evaluate the fit, and fit baselines to compare."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from rescale.cost import Cost, cost
from rescale.latency.model import Errors
from rescale.latency.work import FIXED, WORK, work
from rescale.network import Network

RIDGE = 1e-4  # ridge penalty against collinear columns, relative to the mean square of a column
OUTLIER = 0.06  # relative error above which a point gets less weight
ROUNDS = 5

Total = Literal["macs", "params", "activations"]
Predict = Callable[[Sequence[Network]], np.ndarray]
Fitter = Callable[[Sequence[Network], np.ndarray], Predict]


def amounts(networks: Sequence[Network], batch: int) -> np.ndarray:
    """Work of a step of `batch` images, [networks, kinds]."""
    table = np.array([work(network) for network in networks], dtype=float)
    table[:, :FIXED] *= batch
    return table


def coefficients(table: np.ndarray, seconds: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """Fit non-negative coefficients by least squares of the relative error, with Huber weights.

    Args:
        table: work of each network, [n, kinds].
        seconds: measured times, [n].
        ridge: penalty relative to the mean square of a column.

    Returns:
        Seconds per unit of each kind of work, [kinds].
    """
    from scipy.optimize import nnls

    relative = table / seconds[:, None]
    size = np.sqrt((relative**2).mean(0))
    size[size == 0] = 1
    columns = relative / size
    shrink = np.sqrt(ridge * len(seconds)) * np.eye(len(size))
    weights = np.ones(len(seconds))
    for _ in range(ROUNDS):
        matrix = np.vstack([columns * weights[:, None], shrink])
        solution, _ = nnls(matrix, np.concatenate([weights, np.zeros(len(size))]), maxiter=100 * len(size))
        deviation = np.abs(columns @ solution - 1)
        weights = np.sqrt(np.minimum(1, OUTLIER / np.maximum(deviation, 1e-9)))
    return solution / size


def fitted(networks: Sequence[Network], seconds: np.ndarray, batch: int) -> dict[str, float]:
    """Fitted seconds per unit by kind of work. seconds: of a step of `batch` images, one for each network."""
    values = coefficients(amounts(networks, batch), seconds)
    return dict(zip(WORK, map(float, values), strict=True))


def by_work(batch: int) -> Fitter:
    """The fitter of the work model, for steps of `batch` images."""

    def fit(networks: Sequence[Network], seconds: np.ndarray) -> Predict:
        values = coefficients(amounts(networks, batch), seconds)
        return lambda unseen: amounts(unseen, batch) @ values

    return fit


def by_total(total: Total) -> Fitter:
    """The fitter of a baseline: a power law in one total, a * total^b."""
    column = Cost._fields.index(total)

    def logs(networks: Sequence[Network]) -> np.ndarray:
        return np.log([cost(network)[column] for network in networks])

    def fit(networks: Sequence[Network], seconds: np.ndarray) -> Predict:
        power, factor = np.polyfit(logs(networks), np.log(seconds), 1)
        return lambda unseen: np.exp(power * logs(unseen) + factor)

    return fit


def held_out(
    networks: Sequence[Network], seconds: np.ndarray, groups: Sequence[object], fitter: Fitter
) -> np.ndarray:
    """Cross-validated predictions: each network is predicted by a fit to the networks of other groups."""
    predictions = np.empty(len(seconds))
    for group in set(groups):
        held = np.array([member == group for member in groups])
        fit_to = [network for network, out in zip(networks, held, strict=True) if not out]
        unseen = [network for network, out in zip(networks, held, strict=True) if out]
        predictions[held] = fitter(fit_to, seconds[~held])(unseen)
    return predictions


def errors(predicted: np.ndarray, measured: np.ndarray) -> Errors:
    """Errors of predicted times [n] against measured times [n]."""
    from scipy.stats import spearmanr

    error = np.abs(predicted / measured - 1)
    rank = spearmanr(predicted, measured).statistic if len(error) > 2 else np.nan
    return Errors(
        n=len(error),
        median=float(np.median(error)),
        p90=float(np.quantile(error, 0.9)),
        within_10=float(np.mean(error <= 0.1)),
        spearman=float(rank),
    )
