"""The Pareto front and the speed-up at equal accuracy, against brute force and closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_study import NETWORKS, plan, result, timing
from rescale.studies.analysis import (
    Point,
    aggregate,
    from_csv,
    front,
    fronts,
    latency_at,
    speedup,
    speedups,
    to_csv,
)

# few distinct values, so that ties are common
points = st.lists(
    st.builds(Point, st.integers(1, 6).map(float), st.integers(0, 6).map(float)), min_size=0, max_size=12
)


@given(points)
def test_the_front_is_what_nothing_dominates(plane):
    def dominated(i):
        x, y = plane[i]
        return any(a <= x and b >= y and (a < x or b > y) for a, b in plane)

    assert sorted(front(plane)) == [i for i in range(len(plane)) if not dominated(i)]


@given(points)
def test_along_the_front_slower_means_more_accurate(plane):
    kept = [plane[i] for i in front(plane)]
    assert kept == sorted(kept)
    assert [p.accuracy for p in kept] == sorted(p.accuracy for p in kept)


def line(seconds_at, accuracies):
    return [Point(seconds_at(a), a) for a in accuracies]


@given(st.floats(1.01, 10), st.floats(0.01, 0.5))
def test_log_linear_fronts_a_factor_apart(factor, slope):
    fast = line(lambda a: math.exp(slope * a), [70.0, 74.5, 80.0, 83.0])
    slow = line(lambda a: factor * math.exp(slope * a), [72.0, 78.0, 81.0])
    for found in (speedup("fast", fast, "slow", slow), speedup("slow", slow, "fast", fast)):
        assert (found.fast, found.slow) == ("fast", "slow")
        assert (found.from_accuracy, found.to_accuracy) == (72.0, 81.0)
        assert found.low == pytest.approx(factor) and found.high == pytest.approx(factor)


def test_the_extremes_and_where_they_are():
    fast = line(lambda a: math.exp(0.1 * a), [70.0, 80.0])
    slow = line(lambda a: 1.7 * math.exp(0.1 * a) * (2.7 / 1.7) ** ((a - 70) / 10), [70.0, 80.0])
    found = speedup("rs", fast, "enet", slow)
    assert (found.low, found.high) == pytest.approx((1.7, 2.7))
    assert (found.low_at, found.high_at) == (70.0, 80.0)


def test_extremes_inside_the_range_are_found():
    straight = [Point(1.0, 70.0), Point(100.0, 80.0)]
    bent = [Point(1.0, 70.0), Point(50.0, 75.0), Point(100.0, 80.0)]
    found = speedup("straight", straight, "bent", bent)
    assert (found.fast, found.high_at) == ("straight", 75.0)
    assert found.high == pytest.approx(50 / 10)  # the straight one takes sqrt(1 * 100) there
    assert found.low == pytest.approx(1.0)


def test_nothing_is_said_beyond_the_common_range():
    assert speedup("a", [Point(1, 70), Point(2, 72)], "b", [Point(1, 73), Point(2, 74)]) is None
    one = speedup("a", [Point(1, 70), Point(4, 72)], "b", [Point(1, 71)])
    assert (one.fast, one.low, one.high) == ("b", pytest.approx(2.0), pytest.approx(2.0))
    assert (one.from_accuracy, one.to_accuracy) == (71, 71)


def test_crossing_fronts_go_below_one():
    a, b = [Point(1.0, 70.0), Point(8.0, 80.0)], [Point(2.0, 70.0), Point(4.0, 80.0)]
    found = speedup("a", a, "b", b)
    assert found.low == pytest.approx(0.5) and found.high == pytest.approx(2.0)


def test_between_points_latency_is_geometric():
    assert latency_at([Point(1, 70), Point(9, 80)], 75) == pytest.approx(3)
    assert latency_at([Point(2, 70)], 70) == 2


def rows():
    made = plan(seeds=3)
    shift = {0: -0.3, 1: 0.0, 2: 0.6}
    results = {item: result(item, NETWORKS[item.label][0] + shift[item.seed]) for item in made.items}
    timings = {label: timing(label, ms / 1000) for label, (_, ms) in NETWORKS.items()}
    return aggregate(results, timings)


def test_means_and_deviations_over_seeds():
    row = next(row for row in rows() if row.label == "resnetrs50x0.25@32")
    assert (row.seeds, row.top1) == (3, pytest.approx(97.9 + 0.1))
    assert row.top1_std == pytest.approx(math.sqrt((0.4**2 + 0.1**2 + 0.5**2) / 2))
    assert (row.top1_lowest, row.top1_highest) == (pytest.approx(97.6), pytest.approx(98.5))


def test_one_seed_has_no_deviation_and_an_untimed_network_no_place():
    made = plan(seeds=1)
    results = {item: result(item, NETWORKS[item.label][0]) for item in made.items}
    timings = {label: timing(label, ms / 1000) for label, (_, ms) in NETWORKS.items()}
    best = timings.pop("resnetrs26x0.5@32")
    found = {row.label: row for row in aggregate(results, timings)}
    assert found["resnetrs26x0.5@32"].latency_s is None and not found["resnetrs26x0.5@32"].on_front
    assert found["resnetrs26x0.5@32"].top1_std is None
    assert found["resnetrs50x0.25@32"].on_front
    assert not aggregate(results, {**timings, best.model: timing(best.model, 1e-9)})[0].on_front


def test_each_group_has_a_front_and_pairs_are_compared_once():
    made = rows()
    assert [row.label for row in fronts(made)["resnetrs"]] == [
        "resnetrs26x0.125@32",
        "resnetrs26x0.25@24",
        "resnetrs26x0.25@32",
        "resnetrs50x0.25@32",
        "resnetrs26x0.5@32",
    ]
    pairs = [{found.fast, found.slow} for found in speedups(made)]
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) > 0


def test_csv_holds_every_digit():
    made = rows()
    assert from_csv(to_csv(made)) == made
    untimed = aggregate({item: result(item, 90.0) for item in plan(seeds=1).items}, {})
    assert from_csv(to_csv(untimed)) == untimed
