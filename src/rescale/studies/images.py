"""What single held-out images say: paired tests over images, and the spread that their number explains.

A difference over seeds asks whether one network is better when it is trained again; a difference over images
asks whether the networks trained here differ on other images of the same kind. Pure functions.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rescale.studies.differences import LEVEL

DRAWS = 10_000  # of the bootstrap over images
LEAST_IMAGES = 30  # below which a bootstrap over images claims nothing
_CELLS = 10_000_000  # random numbers at a time


class ImageDifference(NamedTuple):
    """The difference of two networks, as trained here, over the images that all their runs have.

    Args:
        mean: of the scores' differences, in the headline figure's unit.
        images: the number of images.
        low, high: percentile interval by a bootstrap over images; None below `LEAST_IMAGES` images.
        p: of McNemar's exact test; None unless each network has one run whose scores are right or wrong.
    """

    mean: float
    images: int
    low: float | None = None
    high: float | None = None
    p: float | None = None


def aligned(runs: Sequence[Mapping[str, float]]) -> tuple[tuple[str, ...], np.ndarray]:
    """The images that all runs have, and their scores.

    Args:
        runs: the score of each image by its key, at least one run.

    Returns:
        The common keys, sorted, and scores [runs, images].
    """
    common = functools.reduce(lambda kept, run: kept & run.keys(), runs[1:], set(runs[0]))
    keys = tuple(sorted(common))
    return keys, np.array([[run[key] for key in keys] for run in runs], dtype=np.float64)


def floor(scores: np.ndarray) -> float | None:
    """The spread over seeds that the finite number of held-out images explains alone.

    If trainings differed only by chance on each image, independently of the other images, their means would
    have this standard deviation. A spread over seeds that is no larger says nothing about the trainings
    (Jordan, "On the Variance of Neural Network Training with respect to Test Sets and Distributions", 2024).

    Args:
        scores: [seeds, images], of one network.

    Returns:
        A standard deviation in the scores' unit; None with fewer than two seeds or without images.
    """
    seeds, images = scores.shape
    if seeds < 2 or not images:
        return None
    return float(np.sqrt(scores.var(axis=0, ddof=1).sum()) / images)


def over_images(first: np.ndarray, second: np.ndarray, comparisons: int = 1) -> ImageDifference:
    """The second network minus the first, over images.

    Args:
        first, second: scores [seeds, images] of the same images; the numbers of seeds may differ.
        comparisons: the level of the interval, 5 %, is divided by their number.

    Returns:
        The difference and its interval.
    """
    differences = second.mean(axis=0) - first.mean(axis=0)
    images = len(differences)
    if images < LEAST_IMAGES:
        return ImageDifference(float(differences.mean()) if images else 0.0, images)
    tail = LEVEL / comparisons / 2
    low, high = np.quantile(_resampled_means(differences), [tail, 1 - tail])
    single = len(first) == len(second) == 1 and len(np.unique(np.abs(differences[differences != 0]))) <= 1
    p = _mcnemar(differences) if single else None
    return ImageDifference(float(differences.mean()), images, float(low), float(high), p)


def _mcnemar(differences: np.ndarray) -> float:
    """McNemar's exact test: of the images that one network alone gets right, half should be either one's."""
    from scipy.stats import binomtest

    better, changed = int((differences > 0).sum()), int((differences != 0).sum())
    return float(binomtest(better, changed).pvalue) if changed else 1.0


def _resampled_means(values: np.ndarray) -> np.ndarray:
    """Means of `DRAWS` samples with replacement: how often each distinct value is drawn is multinomial."""
    distinct, counts = np.unique(values, return_counts=True)
    rng = np.random.default_rng(0)
    at_once = max(1, _CELLS // len(distinct))
    drawn = [
        rng.multinomial(len(values), counts / len(values), min(at_once, DRAWS - start)) @ distinct
        for start in range(0, DRAWS, at_once)
    ]
    return np.concatenate(drawn) / len(values)
