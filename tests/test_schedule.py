"""Learning rates against torch's schedulers, closed forms, the authors' numbers and the first version's."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.optim.lr_scheduler as peers
from hypothesis import given, settings
from hypothesis import strategies as st

from rescale.lookup import network
from rescale.optim.schedule import learning_rate
from rescale.recipes import NAMED, Recipe, resolve

FIRST = json.loads((Path(__file__).parent / "golden" / "rates.json").read_text())  # make_golden_rates.py


def rates(recipe: Recipe, steps_per_epoch: int) -> list[float]:
    return [
        learning_rate(recipe, step, steps_per_epoch) for step in range(recipe.total_steps(steps_per_epoch))
    ]


def torch_rates(make, steps: int, every: int = 1) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.6)
    scheduler = make(optimizer)
    lrs = []
    for step in range(steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return lrs


PLAIN = Recipe(epochs=9, lr=1.6, warmup_epochs=0)


@pytest.mark.parametrize(
    ("changes", "peer"),
    [
        ({"schedule": "cosine"}, lambda o: peers.CosineAnnealingLR(o, 90)),
        ({"schedule": "stepwise"}, lambda o: peers.MultiStepLR(o, [30, 60, 80])),
        ({"schedule": "exponential", "decay_epochs": 0.1, "staircase": False},
         lambda o: peers.ExponentialLR(o, 0.97)),
        ({"schedule": "exponential", "decay_epochs": 2.0}, lambda o: peers.StepLR(o, 20, 0.97)),
        ({"schedule": "constant"}, lambda o: peers.ConstantLR(o, 1.0)),
    ],
)  # fmt: skip
def test_by_step_as_torch(changes: dict, peer) -> None:
    assert rates(PLAIN.model_copy(update=changes), 10) == pytest.approx(torch_rates(peer, 90))


def test_by_epoch_as_torch() -> None:
    recipe = PLAIN.model_copy(update={"schedule": "cosine", "schedule_by": "epoch"})
    peer = torch_rates(lambda o: peers.CosineAnnealingLR(o, 9), 90, every=10)
    assert rates(recipe, 10) == pytest.approx(peer)


def test_resnet_rs_warms_up_to_the_cosine() -> None:
    recipe = Recipe(epochs=350, lr=1.6, warmup_epochs=5)
    assert learning_rate(recipe, 0, 312) == 0
    assert learning_rate(recipe, 1560, 312) == pytest.approx(1.5992, abs=5e-5)  # the authors' warm-up target
    assert learning_rate(recipe, 780, 312) == pytest.approx(1.5992 / 2, abs=5e-5)
    assert learning_rate(recipe, 1559, 312) < learning_rate(recipe, 1560, 312)
    assert learning_rate(recipe, 109_199, 312) < 1e-6


def test_fast_scaling_by_epoch() -> None:
    recipe = Recipe(
        epochs=100, lr=2.0, warmup_epochs=5, warmup_from=0.1, schedule="exponential", schedule_by="epoch",
        decay_rate=0.02, decay_epochs=0,
    )  # fmt: skip
    lrs = [learning_rate(recipe, epoch * 7 + 3, 7) for epoch in range(6)]
    assert lrs == pytest.approx(
        [0.2, 0.538, 0.851, 1.138, 1.402, 1.645], abs=6e-4
    )  # as its authors' code gives


def test_efficientnet() -> None:
    recipe = Recipe(
        epochs=350, lr=0.128, warmup_epochs=5, schedule="exponential", decay_rate=0.97, decay_epochs=2.4
    )
    assert learning_rate(recipe, 2500, 1000) == pytest.approx(0.064)
    assert learning_rate(recipe, 7300, 1000) == pytest.approx(0.128 * 0.97**3)


@given(
    st.integers(1, 6),
    st.integers(1, 7),
    st.floats(0, 3),
    st.sampled_from(["cosine", "stepwise", "exponential", "constant"]),
    st.sampled_from(["step", "epoch"]),
)
@settings(max_examples=150, deadline=None)
def test_any_run_has_finite_rates_up_to_the_peak(
    epochs: int, steps: int, warm: float, schedule: str, by: str
) -> None:
    recipe = Recipe(epochs=epochs, lr=0.5, warmup_epochs=warm, schedule=schedule, schedule_by=by)
    all_rates = rates(recipe, steps)
    assert all(math.isfinite(rate) and 0 <= rate <= 0.5 for rate in all_rates)
    warmed = all_rates[math.ceil(warm * steps) :]
    if by == "step":
        assert warmed == sorted(warmed, reverse=True)


@pytest.mark.parametrize("by", ["step", "epoch"])
def test_a_run_of_one_epoch_trains(by: str) -> None:
    all_rates = rates(Recipe(epochs=1, lr=0.5, warmup_epochs=0.05, schedule_by=by), 20)
    assert max(all_rates) > 0.49


def test_the_factor_is_reached_at_the_end_of_the_run() -> None:
    """decay_epochs=0: beta^(t/T)."""
    recipe = Recipe(
        epochs=4, lr=2.0, warmup_epochs=0, schedule="exponential", decay_rate=0.02, decay_epochs=0
    )
    assert rates(recipe, 5) == pytest.approx([2 * 0.02 ** (t / 20) for t in range(20)])


@pytest.mark.parametrize("case", FIRST)
def test_rates_are_the_first_versions(case: str) -> None:
    name, by, steps_per_epoch = case.split(", ")
    chosen = NAMED[name].recipe.model_copy(update={"schedule_by": by})
    resolved = resolve(chosen, network("resnetrs50@160")).recipe
    by_step = {step: learning_rate(resolved, int(step), int(steps_per_epoch)) for step in FIRST[case]}
    assert by_step == pytest.approx(FIRST[case], rel=1e-12, abs=1e-15)  # the last bits are the C library's


KINDS = st.sampled_from(["cosine", "stepwise", "exponential", "constant"])
BY = st.sampled_from(["step", "epoch"])


@given(st.integers(1, 40), st.integers(1, 9), st.floats(0, 0.9), KINDS, BY, st.sampled_from([0, 2.4]))
@settings(max_examples=150, deadline=None)
def test_whole_epochs_in_steps_have_the_rates_of_epochs(
    epochs: int, steps: int, warm: float, schedule: str, by: str, decay_epochs: float
) -> None:
    recipe = Recipe(
        epochs=epochs, lr=0.5, warmup_epochs=warm * epochs, schedule=schedule, schedule_by=by,
        decay_epochs=decay_epochs,
    )  # fmt: skip
    in_steps = recipe.model_copy(update={"steps": epochs * steps, "epochs": 7})
    assert rates(in_steps, steps) == rates(recipe, steps)  # to the bit


@given(st.integers(1, 60), st.integers(1, 9), KINDS, BY)
@settings(max_examples=150, deadline=None)
def test_a_run_that_ends_within_an_epoch(length: int, steps: int, schedule: str, by: str) -> None:
    all_rates = rates(Recipe(steps=length, lr=0.5, warmup_epochs=0, schedule=schedule, schedule_by=by), steps)
    assert len(all_rates) == length and all_rates[0] == 0.5
    assert all(math.isfinite(rate) and 0 <= rate <= 0.5 for rate in all_rates)
    assert all_rates == sorted(all_rates, reverse=True)


def test_a_cosine_in_steps_as_torch() -> None:
    peer = torch_rates(lambda o: peers.CosineAnnealingLR(o, 87), 87)
    assert rates(PLAIN.model_copy(update={"steps": 87}), 10) == pytest.approx(peer)


def test_by_epoch_the_share_is_of_the_steps() -> None:
    """25 steps in epochs of 10: the third epoch starts at 20 / 25 of the run."""
    recipe = PLAIN.model_copy(update={"schedule_by": "epoch", "steps": 25})
    expected = [0.8 * (1 + math.cos(math.pi * start / 25)) for start in (0, 10, 20)]
    assert rates(recipe, 10) == pytest.approx([expected[step // 10] for step in range(25)])
