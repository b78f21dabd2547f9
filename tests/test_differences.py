"""What a few seeds can tell apart: closed forms, SciPy, printed tables and simulated false differences."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fake_study import ERROR, additive_study, plan, result
from rescale.studies import outlook
from rescale.studies.differences import (
    LEVEL,
    POWER,
    _t_test,
    against_best,
    holm,
    paired_differences,
    smallest_visible,
)
from rescale.training.format_1 import TOP_1


def by_seed(*values):
    return dict(enumerate(values))


def test_a_difference_is_the_textbooks_paired_t_test():
    a, b = [97.1, 96.9, 97.4, 97.0], [97.9, 97.2, 98.0, 98.1]
    (one,) = paired_differences([(by_seed(*a), by_seed(*b))])
    sample = [0.8, 0.3, 0.6, 1.1]  # mean .7, standard deviation .3367
    error = math.sqrt(sum((x - 0.7) ** 2 for x in sample) / 3) / 2
    assert one.mean == pytest.approx(0.7) and one.seeds == 4
    assert one.p == pytest.approx(stats.ttest_rel(b, a).pvalue)
    assert (one.low, one.high) == pytest.approx((0.7 - 3.182446 * error, 0.7 + 3.182446 * error))
    assert one.told_apart and one.sign_flip is None
    assert one.deviation == pytest.approx(2 * error) and one.comparisons == 1


def test_intervals_and_p_values_are_corrected_for_the_comparisons():
    rows = [(by_seed(0, 0, 0), by_seed(1, 2, 3.5)), (by_seed(0, 0, 0), by_seed(1.0, 1.1, 0.9))] * 2
    alone, (of_four, *_) = paired_differences(rows[:1])[0], paired_differences(rows)
    assert of_four.high - of_four.mean == pytest.approx(
        (alone.high - alone.mean) * stats.t.isf(0.05 / 8, 2) / stats.t.isf(0.05 / 2, 2)
    )
    assert alone.p < of_four.p


def test_holm_is_as_in_the_literature():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # R: p.adjust
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_where_nothing_is_claimed():
    few = paired_differences([(by_seed(90.0, 91.0), by_seed(97.0, 98.5)), (by_seed(90.0), by_seed(97.0))])
    assert [(one.mean, one.seeds, one.p, one.told_apart) for one in few] == [
        (7.25, 2, None, False),
        (7.0, 1, None, False),
    ]
    equal = paired_differences([(by_seed(98.1, 98.3, 98.2), by_seed(98.3, 98.5, 98.4))])
    assert equal[0].mean == pytest.approx(0.2) and equal[0].p is None  # equal but for rounding
    (apart,) = paired_differences([({0: 90.0, 1: 91.0}, {2: 97.0})])
    assert (apart.mean, apart.seeds) == (None, 0)
    (common,) = paired_differences([({0: 90.0, 1: 91.0, 5: 90.5}, {5: 91.5, 0: 92.0})])
    assert (common.mean, common.seeds) == (1.5, 2)


@pytest.mark.parametrize("seeds", [6, 8])
def test_the_smallest_p_of_the_sign_flip_test(seeds):
    rising = by_seed(*(1.0 + 0.1 * seed for seed in range(seeds)))
    (one,) = paired_differences([(by_seed(*[0.0] * seeds), rising)])
    assert one.sign_flip == pytest.approx(2 / 2**seeds)


@pytest.mark.parametrize(("seeds", "expected"), [(3, 3.3), (4, 2.1), (5, 1.7), (6, 1.4), (8, 1.2), (10, 1.0)])
def test_the_smallest_visible_difference(seeds, expected):
    assert smallest_visible(seeds) == pytest.approx(expected, abs=0.06)
    rng = np.random.default_rng(seeds)
    sample = rng.normal(smallest_visible(seeds, 4), 1.0, (20_000, seeds))
    assert np.mean(paired_t(sample) <= LEVEL / 4) == pytest.approx(POWER, abs=0.01)


def paired_t(samples):
    return stats.ttest_1samp(samples, 0.0, axis=-1).pvalue


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_false_differences_in_20000_simulated_tables(seeds):
    """Rows of equal networks: in at most 5 % of the tables any row is told apart from the one above."""
    rows, trials = 5, 20_000
    values = np.random.default_rng(seeds).normal(size=(trials, rows, seeds))
    p = paired_t(values[:, 1:] - values[:, :-1])
    false = np.mean([min(holm(list(table))) <= LEVEL for table in p])
    assert false < LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / trials)
    assert np.mean(p.min(axis=1) <= LEVEL) > 2 * LEVEL  # without the correction
    for trial in range(50):  # the whole way from values to claims
        networks = [by_seed(*row) for row in values[trial]]
        told = [one.told_apart for one in paired_differences(list(itertools.pairwise(networks)))]
        assert told == [adjusted <= LEVEL for adjusted in holm(list(p[trial]))]


def test_false_winners_in_20000_simulated_studies():
    """Equal networks: in at most 5 % of the studies the best one is told apart from any other."""
    networks, seeds, trials = 4, 5, 20_000
    values = np.random.default_rng(0).normal(size=(trials, networks, seeds))
    best = values.mean(axis=2).argmax(axis=1)
    pairs = networks * (networks - 1) // 2
    against = values[np.arange(trials), best][:, None] - values
    against[np.arange(trials), best] = np.arange(seeds) - 2.0  # the best against itself: p is 1
    p = paired_t(against)
    false = np.mean(p.min(axis=1) * pairs <= LEVEL)  # Holm's first step, by which any rejection begins
    assert false <= LEVEL
    uncorrected = np.mean(p.min(axis=1) * (networks - 1) <= LEVEL)
    assert uncorrected > 1.3 * LEVEL  # why the correction is for all pairs


def test_the_best_is_compared_with_the_others_in_their_order():
    values = [by_seed(1.0, 2.0, 3.5), by_seed(9.0, 9.1, 9.3), by_seed(4.0, 5.0, 4.4)]
    first, second = against_best(values, 1)
    assert first.mean == pytest.approx(9.1333 - 2.1667, abs=1e-3) and first.low < first.mean < first.high
    assert second.mean == pytest.approx(9.1333 - 4.4667, abs=1e-3) and second.low < second.mean < second.high
    alone = _t_test([5.0, 4.1, 4.9])
    assert second.p == pytest.approx(3 * alone) and second.told_apart
    assert against_best(values[:1], 0) == []


def test_before_it_runs_a_plan_says_what_its_seeds_can_show(tmp_path):
    two = {"resnet26@32": (0.0, 0.0), "resnet50@32": (0.0, 0.0)}
    assert outlook(plan({"resnet26@32": (0.0, 0.0)}, seeds=5), {}) == ""
    assert outlook(plan(two, seeds=1), {}).startswith("one seed for each network: they will not be told")
    made = plan(two, seeds=4)  # the networks take turns
    assert outlook(replace(made, items=made.items[:3]), {}).startswith("at most 2 seeds for each network:")
    few = outlook(replace(made, items=(made.items[0], *made.items[1::2])), {})
    assert few.startswith("4 seeds find")
    assert few.endswith(f"; fewer than 3 seeds, so not told apart: {made.labels[0]}")
    assert outlook(plan(two, seeds=5), {}) == (
        "5 seeds find a difference of 0.84 with a probability of 80 %: 1.7 times its standard deviation over "
        "seeds, 0.5 (assumed)"
    )
    made = plan(two, seeds=3)
    values = {"resnet26@32": (97.0, 97.4, 97.2), "resnet50@32": (97.1, 97.3, 97.6)}  # deviation 0.252
    for figure in (TOP_1, ERROR):
        finished = {item: result(item, values[item.label][item.seed], figure) for item in made.items}
        text = outlook(made, finished)
        assert "a difference of 0.82 with" in text and text.endswith("0.25 (in the finished runs)")
    by_hand = additive_study(tmp_path / "s").plan
    assert f"{smallest_visible(3, 3):.1f} times its standard" in outlook(by_hand, {})
