"""The Pareto front and the speed-up at equal quality, against brute force, NumPy and closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_study import ERROR, NETWORKS, plan, result, timing
from rescale.errors import UserError
from rescale.studies.analysis import (
    Point,
    aggregate,
    best_first,
    front,
    fronts,
    latency_at,
    speedup,
    speedups,
)
from rescale.studies.rows import from_csv, to_csv
from rescale.training.format_1 import TOP_1

BOTH = pytest.mark.parametrize("figure", [TOP_1, ERROR], ids=["higher", "lower"])

# few distinct values, so that ties are common
points = st.lists(
    st.builds(Point, st.integers(1, 6).map(float), st.integers(0, 6).map(float)), min_size=0, max_size=12
)
values = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=9)


def rows(figure=TOP_1, networks=NETWORKS, shift=(-0.3, 0.0, 0.6)):
    """One row a network of made-up values (of top-1, or errors that order the networks alike)."""
    items = plan(networks, seeds=len(shift)).items
    results = {item: result(item, networks[item.label][0] + shift[item.seed], figure) for item in items}
    timings = {label: timing(label, ms / 1000) for label, (_, ms) in networks.items()}
    return aggregate(results, timings)


@given(points)
def test_the_front_is_what_nothing_dominates(plane):
    def dominated(i):
        x, y = plane[i]
        return any(a <= x and b >= y and (a < x or b > y) for a, b in plane)

    assert sorted(front(plane)) == [i for i in range(len(plane)) if not dominated(i)]


@BOTH
@settings(deadline=None)
@given(values)
def test_rows_on_the_front_are_those_that_no_row_beats(figure, pairs):
    """By the figure's own values and its own `better`."""
    networks = {f"resnet{i}": (10.0 * value, float(ms)) for i, (value, ms) in enumerate(pairs)}
    made = rows(figure, networks, shift=(0.0,))

    def beats(a, b):
        as_good = not figure.better(b.value, a.value)
        return (
            a.latency_s <= b.latency_s
            and as_good
            and (a.latency_s < b.latency_s or figure.better(a.value, b.value))
        )

    expected = [row.label for row in made if not any(beats(other, row) for other in made)]
    assert [row.label for row in made if row.on_front] == expected
    assert sorted(row.label for row in fronts(made)["resnet"]) == sorted(expected)


@given(points)
def test_along_the_front_slower_means_better(plane):
    kept = [plane[i] for i in front(plane)]
    assert kept == sorted(kept)
    assert [p.quality for p in kept] == sorted(p.quality for p in kept)


def line(seconds_at, qualities):
    return [Point(seconds_at(q), q) for q in qualities]


@given(st.floats(1.01, 10), st.floats(0.01, 0.5))
def test_log_linear_fronts_a_factor_apart(factor, slope):
    fast = line(lambda q: math.exp(slope * q), [70.0, 74.5, 80.0, 83.0])
    slow = line(lambda q: factor * math.exp(slope * q), [72.0, 78.0, 81.0])
    for pair in (speedup("fast", fast, "slow", slow), speedup("slow", slow, "fast", fast)):
        assert (pair.fast, pair.slow) == ("fast", "slow")
        assert (pair.worst, pair.best) == (72.0, 81.0)
        assert pair.low == pytest.approx(factor) and pair.high == pytest.approx(factor)


def test_the_extremes_and_where_they_are():
    fast = line(lambda q: math.exp(0.1 * q), [70.0, 80.0])
    slow = line(lambda q: 1.7 * math.exp(0.1 * q) * (2.7 / 1.7) ** ((q - 70) / 10), [70.0, 80.0])
    pair = speedup("rs", fast, "enet", slow)
    assert (pair.low, pair.high) == pytest.approx((1.7, 2.7))
    assert (pair.low_at, pair.high_at) == (70.0, 80.0)


def test_extremes_inside_the_range():
    straight = [Point(1.0, 70.0), Point(100.0, 80.0)]
    bent = [Point(1.0, 70.0), Point(50.0, 75.0), Point(100.0, 80.0)]
    pair = speedup("straight", straight, "bent", bent)
    assert (pair.fast, pair.high_at) == ("straight", 75.0)
    assert pair.high == pytest.approx(50 / 10)  # the straight one takes sqrt(1 * 100) there
    assert pair.low == pytest.approx(1.0)


def test_nothing_is_claimed_beyond_the_common_range():
    assert speedup("a", [Point(1, 70), Point(2, 72)], "b", [Point(1, 73), Point(2, 74)]) is None
    pair = speedup("a", [Point(1, 70), Point(4, 72)], "b", [Point(1, 71)])
    assert (pair.fast, pair.low, pair.high) == ("b", pytest.approx(2.0), pytest.approx(2.0))
    assert (pair.worst, pair.best) == (71, 71)


def test_crossing_fronts_go_below_one():
    a, b = [Point(1.0, 70.0), Point(8.0, 80.0)], [Point(2.0, 70.0), Point(4.0, 80.0)]
    pair = speedup("a", a, "b", b)
    assert pair.low == pytest.approx(0.5) and pair.high == pytest.approx(2.0)


def test_between_points_latency_is_geometric():
    assert latency_at([Point(1, 70), Point(9, 80)], 75) == pytest.approx(3)
    assert latency_at([Point(2, 70)], 70) == 2


@BOTH
@settings(deadline=None)
@given(values, values)
def test_speedups_are_numpys_on_a_fine_grid(figure, some, others):
    """Extremes of the ratio of latencies over the figure's own values, interpolated by NumPy."""
    families = {"resnet": some, "regnety": others}
    networks = {
        f"{family}{i}": (10.0 * value, float(ms))
        for family, pairs in families.items()
        for i, (value, ms) in enumerate(pairs)
    }
    made = rows(figure, networks, shift=(0.0,))
    curves = {}
    for family, own in fronts(made).items():
        curve = sorted({(row.value, row.latency_s) for row in own})
        curves[family] = np.array(curve).T
    low = max(curve[0].min() for curve in curves.values())
    high = min(curve[0].max() for curve in curves.values())
    pairs = speedups(made)
    if low > high:
        assert pairs == []
        return
    (pair,) = pairs
    grid = np.unique(np.concatenate([np.linspace(low, high, 2001), *(c[0] for c in curves.values())]))
    grid = grid[(grid >= low) & (grid <= high)]
    seconds = {f: np.exp(np.interp(grid, curve[0], np.log(curve[1]))) for f, curve in curves.items()}
    ratio = seconds[pair.slow] / seconds[pair.fast]
    assert (pair.low, pair.high) == pytest.approx((ratio.min(), ratio.max()))
    logs = np.log(ratio)
    assert np.sum(np.diff(grid) * (logs[1:] + logs[:-1])) > -1e-9  # faster in the mean
    for place, extreme in ((pair.low_at, pair.low), (pair.high_at, pair.high)):
        assert np.interp(figure.oriented(place), grid, ratio) == pytest.approx(extreme)
    assert sorted(map(figure.oriented, (pair.worst, pair.best))) == pytest.approx([low, high])
    assert not figure.better(figure.oriented(pair.worst), figure.oriented(pair.best))


def test_means_and_deviations_over_seeds():
    row = next(row for row in rows() if row.label == "resnetrs50x0.25@32")
    assert (row.seeds, row.figure, row.value) == (3, TOP_1, pytest.approx(97.9 + 0.1))
    assert row.value_std == pytest.approx(math.sqrt((0.4**2 + 0.1**2 + 0.5**2) / 2))
    assert (row.value_lowest, row.value_highest) == (pytest.approx(97.6), pytest.approx(98.5))
    top5 = [99.6, 99.9, 100.0]
    assert row.figures == {"top5": pytest.approx(sum(top5) / 3), "loss": pytest.approx(0.2)}


def test_an_error_analysed_as_the_mirror_of_top_1():
    by_top1, by_error = rows(TOP_1), rows(ERROR)
    assert [row.label for row in best_first(by_error)] == [row.label for row in best_first(by_top1)]
    for a, b in zip(by_top1, by_error, strict=True):
        assert (b.figure, b.on_front) == (ERROR, a.on_front)
        assert (b.value, b.value_std) == pytest.approx((100 - a.value, a.value_std))
        assert (b.value_lowest, b.value_highest) == pytest.approx(
            (100 - a.value_highest, 100 - a.value_lowest)
        )
        assert set(b.figures) == {"within_11", "loss"}
    for a, b in zip(speedups(by_top1), speedups(by_error), strict=True):
        assert (a.fast, a.slow) == (b.fast, b.slow) and (a.low, a.high) == pytest.approx((b.low, b.high))
        assert [ERROR.oriented(place) for place in (b.low_at, b.high_at, b.worst, b.best)] == pytest.approx(
            [100 - place for place in (a.low_at, a.high_at, a.worst, a.best)]
        )


def test_a_figure_that_only_some_seeds_have_is_averaged_over_those():
    results = {item: result(item, 90.0) for item in plan(dict([*NETWORKS.items()][:1]), seeds=2).items}
    first, second = results.values()
    del first["figures"]["top5"]
    second["figures"]["top5"] = 97.0
    (row,) = aggregate(results, {})
    assert row.figures["top5"] == 97.0


def test_different_headline_figures_are_refused():
    results = {item: result(item, 90.0) for item in plan(seeds=1).items}
    odd = list(results)[3]
    results[odd] = result(odd, 90.0, ERROR)
    with pytest.raises(UserError) as caught:
        aggregate(results, {})
    assert str(caught.value) == (
        "resnetrs26x0.125@32-s0 is judged by top-1 in % (higher is better), resnetrs50x0.25@32-s0 by mean "
        "error in degrees (lower is better): values of different figures cannot be compared; make a study "
        "for each figure"
    )


def test_one_seed_has_no_deviation_and_an_untimed_network_no_place():
    made = plan(seeds=1)
    results = {item: result(item, NETWORKS[item.label][0]) for item in made.items}
    timings = {label: timing(label, ms / 1000) for label, (_, ms) in NETWORKS.items()}
    best = timings.pop("resnetrs26x0.5@32")
    by_label = {row.label: row for row in aggregate(results, timings)}
    assert by_label["resnetrs26x0.5@32"].latency_s is None and not by_label["resnetrs26x0.5@32"].on_front
    assert by_label["resnetrs26x0.5@32"].value_std is None
    assert by_label["resnetrs50x0.25@32"].on_front
    assert not aggregate(results, {**timings, best.model: timing(best.model, 1e-9)})[0].on_front


def test_each_group_has_a_front_and_pairs_are_compared_once():
    made = rows()
    assert [row.label for row in fronts(made)["resnetrs"]] == [
        "resnetrs26x0.125@32",
        "resnetrs26x0.25@48",
        "resnetrs26x0.25@32",
        "resnetrs50x0.25@32",
        "resnetrs26x0.5@32",
    ]
    pairs = [{pair.fast, pair.slow} for pair in speedups(made)]
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) > 0


@BOTH
def test_csv_holds_every_digit(figure):
    made = rows(figure)
    assert from_csv(to_csv(made)) == made
    untimed = aggregate({item: result(item, 90.0, figure) for item in plan(seeds=1).items}, {})
    assert from_csv(to_csv(untimed)) == untimed


def test_columns_of_the_csv_file():
    without = replace(rows(ERROR)[1], figures={"loss": 0.5})
    lines = to_csv([rows(ERROR)[0], without]).splitlines()
    cells = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert cells[0]["figure"] == "angle" and cells[0]["unit"] == "degrees"
    assert (cells[0]["higher_is_better"], cells[0]["is_share"]) == ("False", "False")
    assert [line["mean_within_11"] for line in cells] == [str(rows(ERROR)[0].figures["within_11"]), ""]
    assert from_csv(to_csv([without])) == [without]
    assert to_csv([]).startswith("label,group,") and from_csv(to_csv([])) == []
