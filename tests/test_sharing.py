"""Runs of equal configuration: shared by studies, and refused where rules, code or data have changed."""

import json
from dataclasses import replace

import pytest

from fake_study import finish
from rescale.bench import TimingProtocol
from rescale.errors import UserError
from rescale.models import External
from rescale.models.provenance import code_of
from rescale.models.start import model_to_train
from rescale.recipes import recipe, with_changes
from rescale.studies import Settings, check, pareto_plan, run_study
from rescale.studies.configuration import Configuration, mismatch
from rescale.studies.folder import StudyFolder
from rescale.studies.plan_file import resolved_in
from rescale.studies.sharing import TAKEN_FROM
from rescale.training import train
from rescale.training.format_1 import TOP_1
from rescale.training.run import FORMAT
from test_studies import Ended, Fake, FakeTiming

MODELS = ["resnetrs1-1x0.125@32", "resnetrs1-1x0.0625@32"]


def plan(models=MODELS[:1], seeds=1, **changes):
    settings = {"epochs": 2, "batch": 64, "flip": 0, **changes}
    pairs = [f"{key}={value}" for key, value in settings.items()]
    return pareto_plan(
        models, ["resnet-rs"], "digits", seeds=seeds, changes=pairs, timing=TimingProtocol(batch=8)
    )


class Trained:
    """Finishes each run at once, with the identity that a real training would have stored."""

    def __init__(self, configurations):
        self.configurations, self.started = configurations, []

    def __call__(self, study, item, *others):
        self.started.append(item.name)
        finish(study, item, 90.0)
        planned = self.configurations[item.label]
        facts = {
            "format": FORMAT,
            "headline": TOP_1.as_json(),
            "identity": planned.runs[item.seed],
            "data_digest": planned.data,
            "code": dict(planned.code),
        }
        (study.run(item) / "run.json").write_text(json.dumps(facts))
        return Ended(0)


def run(path, made, configurations=None):
    configurations = configurations or check(made).configurations
    trained = Trained(configurations)
    study = run_study(
        path, made, Settings(jobs=1), progress=False, configurations=configurations,
        executor=Fake(path, trained),
        time_label=FakeTiming(),
    )  # fmt: skip
    return study, trained.started


def test_an_overlapping_study_takes_over_what_another_has_finished(tmp_path):
    first, started = run(tmp_path / "a", plan(seeds=2))
    assert len(started) == 2
    second, started = run(tmp_path / "b", plan(MODELS, seeds=3))
    mine = [item.name for item in second.plan.items if not (second.run(item) / TAKEN_FROM).exists()]
    assert started == mine and len(mine) == 4
    taken = [item for item in second.plan.items if item.name not in started]
    assert [item.seed for item in taken] == [0, 1] and {item.model for item in taken} == set(MODELS[:1])
    for item in taken:
        here, there = second.run(item) / "result.json", first.run(item) / "result.json"
        assert here.samefile(there)  # linked, not copied
        assert json.loads((second.run(item) / TAKEN_FROM).read_text())["run"] == str(first.run(item))
    assert not any(
        (second.run(item) / TAKEN_FROM).exists() for item in second.plan.items if item not in taken
    )


def test_runs_by_another_recipe_or_code_are_not_taken_over(tmp_path):
    run(tmp_path / "a", plan())
    _, started = run(tmp_path / "b", plan(epochs=3))
    assert len(started) == 1
    made = plan()
    known = check(made).configurations
    newer = {label: replace(each, code={**each.code, "behaviour": 99}) for label, each in known.items()}
    _, started = run(tmp_path / "c", made, newer)
    assert len(started) == 1


def test_a_run_that_has_not_finished_is_not_taken_over(tmp_path):
    first, _ = run(tmp_path / "a", plan())
    (first.run(first.plan.items[0]) / "result.json").unlink()
    _, started = run(tmp_path / "b", plan())
    assert len(started) == 1


def test_a_study_is_extended_and_not_continued_by_other_rules(tmp_path):
    made = plan()
    run(tmp_path / "a", made)
    known = check(made).configurations
    _, started = run(tmp_path / "a", plan(MODELS, seeds=2))
    assert len(started) == 3
    label = made.items[0].label
    changed = {label: replace(known[label], recipe={**known[label].recipe, "dropout": 0.33})}
    with pytest.raises(UserError, match=r"dropout was 0\.0, is 0\.33") as refused:
        run(tmp_path / "a", plan(MODELS, seeds=2), changed)
    assert "planned by other rules" in refused.value.lines[-1]
    with pytest.raises(UserError, match="its digest differs"):
        run(tmp_path / "a", plan(MODELS, seeds=2), {label: replace(known[label], data="0" * 16)})


def test_a_run_that_trained_something_else_is_found_by_its_own_files(tmp_path):
    """As when a folder was copied in, or an earlier version planned the study."""
    made = plan()
    known = check(made).configurations
    study = StudyFolder(tmp_path / "a")
    study.keep_plan(made)  # without configurations, as by an earlier version
    Trained(known)(study, made.items[0])
    run(tmp_path / "a", made)
    facts = study.run(made.items[0]) / "run.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "identity": "another"}))
    study.keep_plan(made)
    with pytest.raises(UserError, match="planned by other rules"):
        run(tmp_path / "a", made)


def test_a_configuration_is_equal_after_it_was_stored(tmp_path):
    made = plan()
    known = check(made).configurations
    study = StudyFolder(tmp_path / "a")
    study.keep_plan(made, known)
    stored = resolved_in(tmp_path / "a" / "runs" / "plan.yaml")
    assert {label: Configuration(**plain) for label, plain in stored.items()} == known


def test_the_code_of_external_models_is_known(tmp_path, monkeypatch):
    import timm

    assert code_of(External("timm:resnet10t", 32)) == f"timm {timm.__version__}"
    module = tmp_path / "theirs.py"
    module.write_text("def made(num_classes):\n    return None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_of(External("python:theirs:made", 32))
    module.write_text("def made(num_classes):\n    return 1\n")
    assert before.startswith("sha256 ") and code_of(External("python:theirs:made", 32)) != before


@pytest.mark.parametrize("model", ["timm:test_resnet@32", "resnetrs1-1x0.125@32"])
def test_a_training_stores_the_identity_that_was_planned(model, tmp_path):
    """Also if images are held out of training, which changes the data that the training sees."""
    made = plan([model], steps=1, keep_best="true", minival=0.2)
    item = made.items[0]
    changed = with_changes(recipe(item.recipe), item.changes)
    trained = train(model_to_train(model), changed, "digits", tmp_path / "run", seed=item.seed, quiet=True)
    planned = check(made).configurations[item.label]
    assert trained.facts["identity"] == planned.runs[item.seed]
    assert trained.facts["code"] == planned.code
    assert mismatch(trained.path, planned, item.seed) == ""
