"""The front under new draws of seeds, images and timings: closed forms and simulations."""

import numpy as np
import pytest
from scipy.stats import norm, t

from rescale.studies.analysis import Point, front, mean_speedup, speedup
from rescale.studies.chances import DRAWS, Draws, Measured, draws, front_chances, speedup_interval


def measured(*values: float, seconds: float = 1.0, spread: float = 0.0, timing: int = 0) -> Measured:
    return Measured(values, seconds, (seconds - spread, seconds + spread), 15, timing)


def test_the_front_of_certain_values() -> None:
    chances = front_chances(draws([measured(90.0, seconds=2.0), measured(80.0), measured(70.0)]))
    assert chances == [1.0, 1.0, 0.0]
    assert front_chances(draws([measured(80.0), measured(80.0)])) == [1.0, 1.0]


def test_chances_agree_with_the_front_of_each_draw() -> None:
    rng = np.random.default_rng(0)
    drawn = Draws(rng.integers(0, 4, (50, 6)).astype(float), rng.integers(1, 4, (50, 6)).astype(float))
    on_front = np.zeros(6)
    for qualities, seconds in zip(*drawn, strict=True):
        on_front[front([Point(s, q) for s, q in zip(seconds, qualities, strict=True)])] += 1
    assert front_chances(drawn) == pytest.approx(on_front / 50)


def test_few_seeds_are_drawn_from_their_t_distribution() -> None:
    """The slower network is on the front if its mean is above the other's, which does not vary."""
    values = (70.0, 71.0, 75.0)
    chances = front_chances(draws([measured(*values, seconds=2.0), measured(70.0)]))
    distance = (np.mean(values) - 70.0) / (np.std(values, ddof=1) / np.sqrt(3))
    assert chances[0] == pytest.approx(t.cdf(distance, 2), abs=3 * 0.5 / np.sqrt(DRAWS))
    assert chances[1] == 1.0


def test_many_seeds_are_resampled() -> None:
    values = tuple(np.random.default_rng(1).normal(70.0, 1.0, 20))
    means = draws([measured(*values)]).qualities[:, 0]
    assert means.std() == pytest.approx(np.std(values) / np.sqrt(20), rel=0.1)
    assert min(values) < means.min() < means.max() < max(values)


def test_images_are_resampled_jointly() -> None:
    """Networks that are right on the same images vary together, so that their order is certain."""
    rng = np.random.default_rng(2)
    scores = 100.0 * (rng.random((1, 400)) < 0.7)
    both = np.vstack([scores, scores])
    drawn = draws([measured(71.0), measured(70.0, seconds=2.0)], both)
    assert np.allclose(drawn.qualities[:, 0] - drawn.qualities[:, 1], 1.0)
    assert drawn.qualities[:, 0].std() == pytest.approx(scores.std() / 20, rel=0.1)
    assert front_chances(drawn) == [1.0, 0.0]


def test_times_vary_as_medians_do() -> None:
    """Normal steps: the drawn median has the spread of the median of 15 of them."""
    quartile = 0.01 * norm.ppf(0.75)
    one, same, other = (measured(1.0, spread=quartile, timing=k) for k in (0, 0, 2))
    seconds = draws([one, same, other]).seconds
    medians = np.median(np.random.default_rng(3).normal(1.0, 0.01, (20_000, 15)), axis=1)
    assert seconds[:, 0].std() == pytest.approx(medians.std(), rel=0.1)
    assert np.array_equal(seconds[:, 0], seconds[:, 1])
    assert abs(np.corrcoef(seconds[:, 0], seconds[:, 2])[0, 1]) < 0.1


def test_the_mean_speedup_lies_within_its_range() -> None:
    fast = [Point(1.0, 70.0), Point(2.0, 80.0)]
    slow = [Point(3.0, 70.0), Point(4.0, 80.0)]
    pair, mean = speedup("a", fast, "b", slow), mean_speedup(fast, slow)
    assert pair.low < mean < pair.high
    assert mean == pytest.approx(np.sqrt(3.0 * 2.0))  # log(ratio) is linear between the ends
    assert mean_speedup(slow, fast) == pytest.approx(1 / mean)
    assert mean_speedup(fast, [Point(1.0, 90.0)]) is None


def test_an_interval_of_the_speedup() -> None:
    """Times alone vary: log(ratio) is normal, with the spread of both medians."""
    spread = 0.05
    networks = [
        measured(70.0, seconds=1.0, spread=spread, timing=0), measured(80.0, seconds=2.0, timing=1),
        measured(70.0, seconds=3.0, timing=2), measured(80.0, seconds=4.0, timing=3),
    ]  # fmt: skip
    low, high = speedup_interval(draws(networks), [0, 1], [2, 3])
    error = 1.2533 * 2 * spread / 1.349 / np.sqrt(15) / 2  # one of the two ends varies
    expected = np.sqrt(6.0) * np.exp(norm.ppf([0.025, 0.975]) * error)
    assert (low, high) == pytest.approx(tuple(expected), rel=0.01)
    far = [measured(50.0, 90.0), measured(70.0)]
    assert speedup_interval(draws(far), [0], [1]) is None
