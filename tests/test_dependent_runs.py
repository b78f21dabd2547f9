"""Runs of a study that start from the weights of another of its runs."""

from dataclasses import replace

import pytest

from rescale.bench import TimingProtocol
from rescale.errors import UserError
from rescale.studies import Item, Plan, Settings, check, run_study
from rescale.studies.commands import training_command, weights_of
from rescale.studies.plan_file import from_file, to_yaml
from rescale.training import Run
from test_studies import Fake, FakeTiming, Trainings

MODEL = "resnetrs1-1x0.125@32"
CHANGES = ("steps=2", "batch=64", "flip=0", "precision=fp32")


def item(label, weights="", seed=0, **fields):
    return Item(MODEL, "resnet-rs", "digits", seed, CHANGES, label, "g", weights, **fields)


def plan(*items):
    return Plan("two steps", items, TimingProtocol(batch=4, repeats=1, warmup=0), kind="additive")


def ran(path, made, **codes):
    trainings = Trainings({name.replace("_", "-"): own for name, own in codes.items()})
    study = run_study(
        path, made, Settings(jobs=2), progress=False, executor=Fake(path, trainings), time_label=FakeTiming()
    )
    return study, trainings.started


def test_a_run_waits_for_the_run_that_it_starts_from(tmp_path):
    made = plan(item("third", "run:second"), item("second", "run:first"), item("first"), item("other"))
    study, started = ran(tmp_path / "s", made)
    order = [name.removesuffix("-s0") for name in started]
    assert order.index("first") < order.index("second") < order.index("third") and len(order) == 4
    runs = study.path.absolute() / "runs"
    assert weights_of(made, made.items[0], runs) == str((tmp_path / "s/runs/second-s0").absolute())
    assert weights_of(made, made.items[2], runs) == ""


def test_seeds_start_from_the_same_seed(tmp_path):
    made = plan(*(item("b", "run:a", seed) for seed in (0, 1)), *(item("a", "", seed) for seed in (0, 1)))
    assert [made.needed(each).name for each in made.items[:2]] == ["a-s0", "a-s1"]
    command = training_command(made, made.items[1], {}, "runs/b-s1")
    assert command[command.index("--weights") + 1] == "runs/a-s1"


def test_a_run_that_starts_from_a_failed_one_fails_and_says_so(tmp_path):
    made = plan(item("second", "run:first"), item("third", "run:second"), item("first"), item("other"))
    study, started = ran(tmp_path / "s", made, first_s0=[1])
    assert sorted(started) == ["first-s0", "other-s0"]
    reasons = {failure.label: failure.reason for failure in study.failures()}
    assert reasons["second"] == "starts from first-s0, which has not finished"
    assert reasons["third"] == "starts from second-s0, which has not finished"
    study, started = ran(tmp_path / "s", made)  # the next call tries all of them again
    assert started == ["first-s0", "second-s0", "third-s0"] and study.failures() == []


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([item("b", "run:c"), item("a")], "no run of that label with seed 0"),
        ([item("b", "run:a", 1), item("a")], "no run of that label with seed 1"),
        ([item("a", "run:b"), item("b", "run:a")], "start from each other's weights"),
        ([item("a", "run:a")], "start from each other's weights"),
    ],
)
def test_wrong_needs_are_refused(items, expected, tmp_path):
    (tmp_path / "plan.yaml").write_text(to_yaml(plan(*items)))
    with pytest.raises(UserError, match=expected):
        from_file(tmp_path / "plan.yaml")


def test_starting_weights_are_checked_before_anything_runs(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        check(plan(item("a", str(tmp_path / "none.safetensors")), item("b")))
    checked = check(plan(item("b", "run:a"), item("a")))
    assert checked.configurations["b"].runs == {} and list(checked.configurations["a"].runs) == [0]


def test_a_real_run_starts_from_the_weights_of_another(tmp_path):
    made = plan(item("tuned", "run:first"), replace(item("first"), changes=(*CHANGES, "lr=0.05")))
    checked = check(made)
    study = run_study(
        tmp_path / "s", made, Settings(jobs=1, device="cpu"), progress=False,
        configurations=checked.configurations, time_label=FakeTiming(),
    )  # fmt: skip
    assert study.failures() == []
    first, tuned = (Run(study.run(each)) for each in (made.items[1], made.items[0]))
    assert tuned.facts["weights"]["source"] == str(first.path.absolute())
    again = run_study(
        tmp_path / "s", made, Settings(jobs=1, device="cpu"), progress=False,
        configurations=checked.configurations, time_label=FakeTiming(),
    )  # fmt: skip
    assert again.failures() == [] and len(again.results()) == 2
