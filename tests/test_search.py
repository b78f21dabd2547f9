"""Search in a design space: results meet the budget, follow the distributions and are reproducible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescale import search as search_module
from rescale.cost import cost
from rescale.errors import UserError
from rescale.families.regnet import runs
from rescale.lookup import network
from rescale.network import Network
from rescale.scaling import scale
from rescale.search import CHUNK, Space, _four_stages, _log_uniform, search, search_within, write


@pytest.mark.parametrize("kind", ["x", "y", "z"])
def test_results_meet_the_budget(kind: str) -> None:
    result = search(Space(kind), {"macs": 400e6}, samples=8)
    assert len({net.identity for net in result.networks}) == 8
    for net, counted in zip(result.networks, result.costs, strict=True):
        assert cost(net) == counted
        assert 380e6 <= counted.macs <= 420e6
        assert len(net.stages) == 4 and 12 <= sum(stage.depth for stage in net.stages) <= 28
        assert network(net.name) == net
    assert len({net.resolution for net in result.networks}) > 1
    assert result.drawn > result.valid > 8


def test_the_same_seed_gives_the_same_result() -> None:
    first, again, other = (search(Space(), {"macs": 1e9}, samples=5, seed=s) for s in (3, 3, 4))
    assert first == again and first.networks != other.networks


def test_several_budgets_and_hints() -> None:
    result = search(Space(), {"macs": 4e9, "params": 20e6, "activations": 12e6}, samples=3, band=0.1)
    for counted in result.costs:
        assert 18e6 <= counted.params <= 22e6 and 10.8e6 <= counted.activations <= 13.2e6
    hinted = search(Space(resolution=(224, 224)), {"macs": 4e9}, samples=10, hints=True)
    for counted in hinted.costs:
        assert counted.params < 25e6 * 1.05 and counted.activations < 13e6 * 1.05


def test_samples_are_within_the_ranges_and_log_uniform() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([_log_uniform(rng, (8, 128), 8) for _ in range(5)])
    assert values.min() == 8 and values.max() == 128 and not (values % 8).any()
    # log-uniform over (4, 128] rounded up: the share of 8 is log(8 / 4) / log(128 / 4) = a fifth
    assert (values == 8).mean() == pytest.approx(0.2, abs=0.01)
    assert (values > 64).mean() == pytest.approx(0.2, abs=0.01)
    four = search(Space(group=(4, 4), resolution=(224, 224)), {"macs": 5e8}, samples=3)
    assert all(stage.group_width == 4 for net in four.networks for stage in net.stages)


@settings(max_examples=200)
@given(st.integers(12, 28), st.integers(1, 32), st.floats(8, 256), st.floats(2, 3))
def test_the_quick_test_agrees_with_the_generator(depth: int, w0: int, wa: float, wm: float) -> None:
    exact = runs(depth, 8 * w0, wa, wm)
    quick = _four_stages(np.array([depth]), np.array([8.0 * w0]), np.array([wa]), np.array([wm]))[0]
    if exact is not None and len(exact) == 4:
        assert quick
    assert CHUNK > 1000


def test_files_can_be_trained_from(tmp_path) -> None:
    result = search(Space(), {"macs": 400e6}, samples=2)
    write(result, tmp_path / "nets")
    assert [network(p) for p in sorted((tmp_path / "nets").iterdir())] == sorted(
        result.networks, key=lambda net: net.name
    )


def test_results_at_a_medium_budget_can_be_scaled() -> None:
    result = search(Space(), {"macs": 1e9}, samples=4)
    for net in result.networks:
        assert cost(scale(net, "dWr", macs=8e9)).macs == pytest.approx(8e9, rel=0.04)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: search(Space(), {"macs": 1e3}, most=20_000), "0 of 32 networks found in 20,000 draws"),
        (lambda: search(Space(), {}), "needs a budget"),
        (lambda: search(Space(), {"macs": 1e9}, band=2), "band 2"),
        (lambda: Space(depth=(20, 10)), r"depth 20\.\.10"),
        (lambda: Space(wm=(0.5, 2)), "above 1"),
    ],
)
def test_wrong_searches_get_one_line(call, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call()


def seconds(net: Network) -> float:
    """A device whose time is a sum of multiply-adds and activations."""
    counted = cost(net)
    return counted.macs * 1e-11 + counted.activations * 3e-9


@pytest.fixture
def few(monkeypatch) -> None:
    monkeypatch.setattr(search_module, "FEWEST", 60)


def test_a_latency_is_an_upper_bound_and_the_largest_networks_are_taken(few) -> None:
    result = search_within(Space(), 0.02, seconds, samples=5)
    assert len(result.networks) == 5 and not result.measured
    assert list(result.seconds) == [seconds(net) for net in result.networks]
    assert max(result.seconds) <= 0.02
    macs = [counted.macs for counted in result.costs]
    assert macs == sorted(macs, reverse=True)
    more = search_within(Space(), 0.02, seconds, samples=40)
    assert result.networks == more.networks[:5] or more.costs[0].macs >= macs[0]  # of a larger pool
    assert search_within(Space(), 0.02, seconds, samples=5) == result  # reproducible
    both = search_within(Space(), 0.02, seconds, samples=2, budget={"params": 6e6}, band=0.2)
    assert all(4.8e6 <= counted.params <= 7.2e6 for counted in both.costs)


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.3])
def test_measured_times_decide(few, factor: float) -> None:
    """Predictions that are all too high or too low by a factor, with some noise on top."""
    measured: list[float] = []

    def measure(net: Network) -> float:
        noise = 1 + 0.04 * (int(net.identity, 16) % 5 - 2)
        measured.append(factor * noise * seconds(net))
        return measured[-1]

    result = search_within(Space(), 0.02, seconds, samples=6, measure=measure)
    assert len(result.measured) == 6 and max(result.measured) <= 0.02
    assert result.too_slow == len(measured) - 6 <= 6
    assert max(result.measured) > 0.016  # the corrected prediction leads close to the limit
    macs = [counted.macs for counted in result.costs]
    assert macs == sorted(macs, reverse=True)


def test_what_cannot_be_met_is_said(few, monkeypatch) -> None:
    monkeypatch.setattr(search_module, "DRAWS", 1_000)
    with pytest.raises(UserError, match=r"the fastest takes .* raise the latency"):
        search_within(Space(), 1e-5, seconds, samples=2)
    with pytest.raises(UserError, match="measured: 3, all slower"):
        search_within(Space(), 0.02, seconds, samples=2, measure=lambda net: 1.0 + 0 * seconds(net))
    with pytest.raises(UserError, match="above 0"):
        search_within(Space(), 0.0, seconds)
