"""How sure is a front? Its networks and speed-ups under repeated draws of seeds, images and timings.

Pure functions. Nothing here knows a task: values are oriented so that more is better.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rescale.studies.analysis import Point, front, mean_speedup

DRAWS = 2_000
SPEEDUP_DRAWS = 400  # each compares two fronts, which takes longer
RESAMPLED = 6  # seeds from which they are resampled; below, the mean is drawn from its t distribution
_CELLS = 10_000_000  # random numbers at a time
_MEDIAN = 1.2533  # deviation of a sample's median in deviations of its mean, of normal values
_QUARTILES = 1.349  # distance of the quartiles in standard deviations, of normal values


@dataclass(frozen=True)
class Measured:
    """What is known about one network.

    Args:
        values: of each seed, oriented so that more is better.
        seconds: median of a step.
        quartiles: of a step, in seconds.
        repeats: the number of timed steps.
        timing: networks with the same number share one timing, and with it every draw of it.
    """

    values: tuple[float, ...]
    seconds: float
    quartiles: tuple[float, float]
    repeats: int
    timing: int


class Draws(NamedTuple):
    """Repeated draws of all networks: qualities and seconds, each [draws, networks]."""

    qualities: np.ndarray
    seconds: np.ndarray


def draws(networks: Sequence[Measured], scores: np.ndarray | None = None) -> Draws:
    """Draw the qualities and the times of networks as other seeds, images and timings might give them.

    Args:
        networks: at least one. The mean of a network with one seed is not varied over seeds.
        scores: [networks, images], oriented mean scores of single images; the images are resampled jointly.
            None if they are unknown: the images are then the same in every draw.

    Returns:
        `DRAWS` draws, always the same ones.
    """
    rng = np.random.default_rng(0)
    qualities = np.stack([_means(network.values, rng) for network in networks], axis=1)
    if scores is not None:
        qualities = qualities + _image_noise(scores, rng)
    noise = rng.standard_normal((DRAWS, len(networks)))
    seconds = np.empty_like(qualities)
    for i, network in enumerate(networks):
        first, third = network.quartiles
        error = _MEDIAN * (third - first) / _QUARTILES / np.sqrt(network.repeats)
        seconds[:, i] = network.seconds * np.exp(noise[:, network.timing] * error / network.seconds)
    return Draws(qualities, seconds)


def front_chances(drawn: Draws) -> list[float]:
    """The share of draws in which each network is on the front: no other dominates it."""
    qualities, seconds = drawn
    chances = []
    for i in range(qualities.shape[1]):
        quality, second = qualities[:, i, None], seconds[:, i, None]
        no_worse = (qualities >= quality) & (seconds <= second)
        better = (qualities > quality) | (seconds < second)
        chances.append(1 - float((no_worse & better).any(axis=1).mean()))
    return chances


def speedup_interval(drawn: Draws, fast: Sequence[int], slow: Sequence[int]) -> tuple[float, float] | None:
    """The 95 % interval of the mean speed-up of one group of networks over another at equal quality.

    Args:
        drawn: of all networks.
        fast, slow: indices of the networks of each group.

    Returns:
        Percentiles over draws; None if the fronts of the groups do not overlap in one draw of twenty or more.
    """
    ratios = []
    for qualities, seconds in itertools.islice(zip(*drawn, strict=True), SPEEDUP_DRAWS):
        lines = [
            _line([Point(float(seconds[i]), float(qualities[i])) for i in group]) for group in (fast, slow)
        ]
        if (ratio := mean_speedup(*lines)) is not None:
            ratios.append(ratio)
    if len(ratios) < 0.95 * SPEEDUP_DRAWS:
        return None
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def _line(points: Sequence[Point]) -> list[Point]:
    return [points[i] for i in front(points)]


def _means(values: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Draws of a mean over seeds, [DRAWS]."""
    seeds, known = len(values), np.array(values)
    if seeds >= RESAMPLED:
        return known[rng.integers(seeds, size=(DRAWS, seeds))].mean(axis=1)
    noise = rng.standard_t(seeds - 1, DRAWS) * known.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
    return known.mean() + noise + np.zeros(DRAWS)


def _image_noise(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean scores of resampled images minus those of the images themselves, [DRAWS, networks]."""
    images = scores.shape[1]
    at_once = max(1, _CELLS // images)
    drawn = [
        rng.multinomial(images, np.full(images, 1 / images), min(at_once, DRAWS - start)) @ scores.T
        for start in range(0, DRAWS, at_once)
    ]
    return np.concatenate(drawn) / images - scores.mean(axis=1)
