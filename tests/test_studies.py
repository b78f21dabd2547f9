"""Plans, and a runner that runs what is missing and nothing else; the trainings are fakes."""

import json
import os
import signal
import time
from dataclasses import replace

import pytest

from fake_study import ERROR, NETWORKS, finish, plan, timing
from rescale.bench import TimingProtocol
from rescale.errors import JobError, UserError
from rescale.studies import Item, Plan, Settings, StudyFolder, aggregate, check, pareto_plan, run_study
from rescale.studies.executors import process
from rescale.studies.executors.executor import Division, Ending
from rescale.studies.executors.local import LocalExecutor, parallel
from rescale.studies.plan import family, short_names
from rescale.studies.plan_file import from_file, to_yaml
from rescale.training.format_1 import TOP_1
from rescale.training.stop import STOPPED

FEW = dict(list(NETWORKS.items())[:4])


class Ended:
    """A training that has ended at once."""

    def __init__(self, code=0):
        self.code = code

    def ended(self):
        return Ending(self.code)

    wait = ended

    def stop(self):
        pass


class Fake:
    """An executor whose trainings are fakes: start_one receives the study, the item and the threads."""

    def __init__(self, path, start_one):
        self.path, self.start_one = path, start_one

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def divide(self, settings, missing):
        return Division(*parallel(settings, missing), "cpu")

    def start(self, jobs):
        study = StudyFolder(self.path)
        items = {item.name: item for item in study.plan.items}
        return [self.start_one(study, items[job.name], job.threads) for job in jobs]


class Trainings:
    """Starts fakes: by item name the exit codes still to come; without one it finishes well.

    checkpoints: by item name, the steps of the checkpoints that its processes leave, one after the other.
    """

    def __init__(self, codes=None, checkpoints=None):
        self.codes = {name: list(own) for name, own in (codes or {}).items()}
        self.checkpoints = {name: list(own) for name, own in (checkpoints or {}).items()}
        self.started = []
        self.threads = set()

    def __call__(self, study, item, threads):
        self.started.append(item.name)
        self.threads.add(threads)
        left = self.codes.get(item.name, [])
        code = left.pop(0) if left else 0
        if steps := self.checkpoints.get(item.name):
            (study.run(item) / "checkpoints" / f"step-{steps.pop(0):08d}").mkdir(parents=True, exist_ok=True)
        if code == 0:
            finish(study, item, 90.0)
        elif code is None or code > 0:
            study.log(item).parent.mkdir(exist_ok=True)
            study.log(item).write_text("epoch 1\nstep 7: the loss is nan\n")
        return Ended(code)


class FakeTiming:
    """Returns a made-up timing; fails for some labels."""

    def __init__(self, *failing):
        self.failing, self.timed = failing, []

    def __call__(self, study, label, ask):
        self.timed.append(label)
        if label in self.failing:
            raise JobError("not even one image fits")
        return timing(label, 0.01)


def run(path, made, trainings=None, timer=None, jobs=2):
    trainings, timer = trainings or Trainings(), timer or FakeTiming()
    executor = Fake(path, trainings)
    study = run_study(path, made, Settings(jobs=jobs), progress=False, executor=executor, time_label=timer)
    return study, trainings, timer


def test_everything_runs_once_and_in_order(tmp_path):
    made = plan(FEW, seeds=2)
    study, trainings, timer = run(tmp_path / "s", made)
    assert trainings.started == [item.name for item in made.items]
    assert timer.timed == list(FEW)
    assert list(study.results()) == list(made.items)
    _, again, timer = run(tmp_path / "s", made)
    assert again.started == [] and timer.timed == []


def additive(*, precision="auto", timed="auto"):
    """The same network in three rows, another one in the fourth."""
    rows = {
        "baseline": ("resnet26x0.25@32", ()),
        "smoothing": ("resnet26x0.25@32", ("label_smoothing=0.1",)),
        "precision": ("resnet26x0.25@32", (f"precision={precision}",)),
        "width": ("resnet26x0.5@32", ()),
    }
    items = [Item(model, "resnet-2015", "digits", 0, own, label, "g") for label, (model, own) in rows.items()]
    return Plan("additive", tuple(items), TimingProtocol(batch=32, precision=timed), kind="additive")


def test_a_network_is_timed_once(tmp_path):
    study, _, timer = run(tmp_path / "s", additive())
    assert timer.timed == ["baseline", "width"]
    timings = study.timings()
    assert list(timings) == ["baseline", "smoothing", "precision", "width"]
    assert timings["baseline"] == timings["smoothing"] == timings["precision"]
    _, _, timer = run(tmp_path / "s", additive())
    assert timer.timed == []
    study.keep_timing("smoothing", timing("smoothing", 0.5))  # as earlier versions timed it
    latencies = {row.label: row.latency_s for row in aggregate(study.results(), study.timings())}
    assert latencies["smoothing"] == latencies["baseline"] == 0.01


def test_a_network_trained_in_two_precisions_is_timed_in_both(tmp_path):
    trainings = Trainings()

    def start(study, item, *others):
        ended = trainings(study, item, *others)
        if item.label == "precision":
            (study.run(item) / "recipe.yaml").write_text("name: resnet-2015\nprecision: bf16\n")
        return ended

    _, _, timer = run(tmp_path / "s", additive(), start)
    assert timer.timed == ["baseline", "precision", "width"]
    _, _, timer = run(tmp_path / "t", additive(timed="fp32"), start)
    assert timer.timed == ["baseline", "width"]


def test_a_failed_timing_is_that_of_all_labels_of_the_network(tmp_path):
    study, _, timer = run(tmp_path / "s", additive(), timer=FakeTiming("baseline"))
    assert timer.timed == ["baseline", "width"] and list(study.timings()) == ["width"]
    study, _, timer = run(tmp_path / "s", additive())
    assert timer.timed == ["baseline"] and len(study.timings()) == 4 and study.failures() == []


def test_an_interrupted_study_runs_only_what_is_missing(tmp_path):
    made = plan(FEW, seeds=2)
    study, _, _ = run(tmp_path / "s", made)
    lost = [made.items[1], made.items[6]]
    for item in lost:
        (study.run(item) / "result.json").unlink()
    (tmp_path / "s" / "timings" / "resnetrs26x0.25@32.json").unlink()
    _, trainings, timer = run(tmp_path / "s", made)
    assert trainings.started == [item.name for item in lost]
    assert timer.timed == ["resnetrs26x0.25@32"]


def test_a_failure_is_recorded_stops_nothing_and_is_tried_again(tmp_path):
    made = plan(FEW, seeds=1)
    bad = made.items[0]
    trainings = Trainings({bad.name: [1]})
    study, trainings, timer = run(tmp_path / "s", made, trainings)
    assert len(study.results()) == 3 and timer.timed == list(FEW)[1:]
    (failure,) = study.failures()
    assert (failure.label, failure.seed, failure.what) == (bad.label, 0, "training")
    assert failure.reason == "step 7: the loss is nan"
    study, trainings, timer = run(tmp_path / "s", made)
    assert trainings.started == [bad.name] and timer.timed == [bad.label]
    assert study.failures() == []


@pytest.mark.parametrize("code", [-signal.SIGKILL, STOPPED])
def test_a_killed_worker_is_started_once_more(tmp_path, code):
    made = plan(FEW, seeds=1)
    victim = made.items[2]
    trainings = Trainings({victim.name: [code]})
    study, trainings, _ = run(tmp_path / "s", made, trainings)
    assert trainings.started.count(victim.name) == 2 and len(trainings.started) == 5
    assert victim in study.results() and study.failures() == []


def test_a_worker_killed_twice_has_failed(tmp_path):
    made = plan(FEW, seeds=1)
    victim = made.items[2]
    trainings = Trainings({victim.name: [-9, -9]})
    study, trainings, _ = run(tmp_path / "s", made, trainings)
    assert trainings.started.count(victim.name) == 2
    (failure,) = study.failures()
    assert failure.attempts == 2 and "signal 9" in failure.reason
    assert len(study.results()) == 3


def test_a_failed_timing_is_recorded_too(tmp_path):
    study, _, _ = run(tmp_path / "s", plan(FEW, seeds=1), timer=FakeTiming("resnetrs26x0.25@48"))
    (failure,) = study.failures()
    assert (failure.what, failure.label, failure.seed) == ("timing", "resnetrs26x0.25@48", None)
    assert len(study.timings()) == 3
    study, _, timer = run(tmp_path / "s", plan(FEW, seeds=1))
    assert timer.timed == ["resnetrs26x0.25@48"] and study.failures() == []


def test_workers_share_the_cores(tmp_path):
    from rescale import machine

    _, trainings, _ = run(tmp_path / "s", plan(FEW, seeds=1), jobs=1)
    assert trainings.threads == {machine.cores()}
    _, trainings, _ = run(tmp_path / "t", plan(FEW, seeds=1), jobs=2 * machine.cores())
    assert trainings.threads == {1}


def test_nothing_is_timed_before_all_trainings_have_ended(tmp_path):
    events = []
    trainings, timer = Trainings(), FakeTiming()
    run_study(
        tmp_path / "s",
        plan(FEW, seeds=2),
        Settings(jobs=2),
        progress=False,
        executor=Fake(tmp_path / "s", lambda *asked: events.append("train") or trainings(*asked)),
        time_label=lambda *asked: events.append("time") or timer(*asked),
    )
    assert events == ["train"] * 8 + ["time"] * 4


def test_a_signal_lets_the_trainings_save_and_ends_the_study(tmp_path):
    made = plan(FEW, seeds=1)
    calls = []

    class Running(Ended):
        def ended(self):
            return None

        def stop(self):
            calls.append("stop")

        def wait(self):
            calls.append("wait")
            return Ending(STOPPED)

    def start(study, item, threads):
        if item == made.items[1]:
            os.kill(os.getpid(), signal.SIGTERM)  # a second one would end the process
        return Running()

    with pytest.raises(JobError, match=r"SIGTERM.*repeat the command to continue"):
        executor = Fake(tmp_path / "s", start)
        run_study(
            tmp_path / "s", made, Settings(jobs=2), progress=False, executor=executor, time_label=FakeTiming()
        )
    assert sorted(calls) == ["stop", "stop", "wait", "wait"]
    assert StudyFolder(tmp_path / "s").failures() == []
    _, trainings, _ = run(tmp_path / "s", made)
    assert len(trainings.started) == 4


def test_two_drivers_refuse_each_other(tmp_path):
    made = plan(FEW, seeds=1)

    def start(study, item, threads):
        with pytest.raises(UserError, match="another process"):
            run(tmp_path / "s", made)
        return Trainings()(study, item, threads)

    study, _, _ = run(tmp_path / "s", made, start)
    assert len(study.results()) == 4


def test_a_study_may_grow_and_nothing_else(tmp_path):
    made = plan(FEW, seeds=1)
    run(tmp_path / "s", made)
    _, trainings, _ = run(tmp_path / "s", plan(FEW, seeds=2))
    assert [name[-2:] for name in trainings.started] == ["s1"] * 4
    other = replace(made, items=tuple(replace(item, changes=("epochs=3",)) for item in made.items))
    with pytest.raises(UserError, match=r"changes flip=0 epochs=16, not epochs=3"):
        run(tmp_path / "s", other)
    with pytest.raises(UserError, match=r"resnetrs26x0.125@32-s0, which is not asked for"):
        run(tmp_path / "s", plan(dict(list(FEW.items())[1:]), seeds=2))
    with pytest.raises(UserError, match=r"batch 32, not 64"):
        run(tmp_path / "s", replace(plan(FEW, seeds=2), timing=TimingProtocol(batch=64)))


def test_a_folder_that_is_no_study_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no study"):
        run(tmp_path, plan(FEW, seeds=1))
    with pytest.raises(UserError, match="is a file"):
        run(tmp_path / "thesis.tex", plan(FEW, seeds=1))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_plans_survive_yaml(tmp_path):
    made = replace(plan(), notes=("flip=0: digits",))
    (tmp_path / "plan.yaml").write_text(to_yaml(made))
    assert from_file(tmp_path / "plan.yaml") == made


def test_a_labelled_model_is_called_by_its_label() -> None:
    models = ["vit-s=python:mine:vit@32", "vit-m=python:mine:wide@32", "timm:resnet18"]
    plan = pareto_plan(models, ["resnet-rs"], "digits")
    assert plan.labels == ["vit-s", "vit-m", "timm:resnet18"]
    assert [item.group for item in plan.items] == ["vit", "vit", "timm:resnet"]
    assert [item.model for item in plan.items] == models


def test_labels_of_models_and_files_are_kept_apart() -> None:
    names = ["own=timm:resnet18", "nets/own.yaml", "nets/other.yaml"]
    assert list(short_names(names).values()) == ["own", "nets/own.yaml", "other"]
    with pytest.raises(UserError, match="both called own-s0"):
        pareto_plan(["own=resnet26", "own=resnet50"], ["resnet-rs"], "digits")


def test_a_plan_by_hand_needs_little(tmp_path):
    text = "title: additive\nitems:\n- {model: resnet26x0.25@32, recipe: resnet-2015, data: digits}\n"
    (tmp_path / "plan.yaml").write_text(text)
    made = from_file(tmp_path / "plan.yaml")
    assert made.labels == ["resnet26x0.25@32"] and made.items[0].group == "resnet"


BY_HAND = """
title: additive
data: digits
recipe: resnet-2015
seeds: 2
changes: [epochs=3, flip=0]
items:
- {model: resnet26x0.25@32, label: baseline}
- {model: resnet26x0.25@32, changes: [label_smoothing=0.1]}
- {model: nets/own.yaml, changes: [epochs=4], seed: 7}
"""


def test_the_top_of_a_plan_holds_for_all_items(tmp_path):
    (tmp_path / "plan.yaml").write_text(BY_HAND)
    made = from_file(tmp_path / "plan.yaml")
    assert [(item.label, item.seed) for item in made.items] == [
        ("baseline", 0),
        ("resnet26x0.25@32, label_smoothing=0.1", 0),
        ("own, epochs=4", 7),
        ("baseline", 1),
        ("resnet26x0.25@32, label_smoothing=0.1", 1),
    ]
    assert {(item.data, item.recipe) for item in made.items} == {("digits", "resnet-2015")}
    assert [item.changes for item in made.items[:3]] == [
        ("epochs=3", "flip=0"),
        ("epochs=3", "flip=0", "label_smoothing=0.1"),
        ("flip=0", "epochs=4"),
    ]
    assert made.by_hand and made.shared_changes == ("flip=0",)
    listed = BY_HAND.replace("seeds: 2", "seeds: [4, 9]").replace("title: additive\n", "")
    (tmp_path / "plan.yaml").write_text(listed)
    made = from_file(tmp_path / "plan.yaml")
    assert [item.seed for item in made.items if item.label == "baseline"] == [4, 9]
    assert made.title == "digits: speed and accuracy"
    (tmp_path / "plan.yaml").write_text(to_yaml(made))
    assert from_file(tmp_path / "plan.yaml") == made


def test_a_plan_by_hand_is_not_rewritten_and_its_runs_keep_their_changes(tmp_path):
    text = BY_HAND.replace("- {model: nets/own.yaml, changes: [epochs=4], seed: 7}\n", "# the end\n")
    (tmp_path / "plan.yaml").write_text(text)
    _, trainings, _ = run(tmp_path, from_file(tmp_path / "plan.yaml"))
    assert len(trainings.started) == 4 and (tmp_path / "plan.yaml").read_text() == text
    (tmp_path / "plan.yaml").write_text(text.replace("epochs=3", "epochs=5"))
    with pytest.raises(UserError, match=r"baseline-s0 has changes epochs=3 flip=0, not epochs=5 flip=0"):
        run(tmp_path, StudyFolder(tmp_path).plan)
    grown = text.replace("title: additive", "title: other").replace("seeds: 2", "seeds: 3")
    (tmp_path / "plan.yaml").write_text(grown)
    study, trainings, _ = run(tmp_path, StudyFolder(tmp_path).plan)
    assert [name[-2:] for name in trainings.started] == ["s2"] * 2 and study.plan.title == "other"


@pytest.mark.parametrize(
    ("written", "wrong", "message"),
    [
        ("data: digits\n", "", r"items\.0\.data is missing; give it there, or `data:` at the top"),
        ("recipe: resnet-2015\n", "", r"items\.2\.recipe is missing"),
        ("seeds: 2", "seeds: 0", "seeds: expected a number from 1 on, or a list of seeds, found 0"),
        ("seeds: 2", "seeds: [1, 1]", r"seeds: expected different seeds, found \[1, 1\]"),
        ("seeds: 2", "seeds: []", "seeds: expected different seeds"),
        ("seeds: 2", "seed: 2", "no key 'seed'; did you mean 'seeds'"),
    ],
)
def test_mistakes_at_the_top_of_a_plan(tmp_path, written, wrong, message):
    (tmp_path / "plan.yaml").write_text(BY_HAND.replace(written, wrong, 1))
    with pytest.raises(UserError, match=message):
        from_file(tmp_path / "plan.yaml")


def test_reports_show_no_paths_of_models_and_recipes():
    made = pareto_plan(
        ["a/b/own.yaml", "a/other/network.yaml", "runs/first", "timm:resnet18"],
        ["x/y/mine.yaml", "resnet-rs"],
        "some/where/images",
    )
    assert made.title == "images: speed and accuracy"
    assert made.labels[:4] == ["own, mine", "other, mine", "first, mine", "timm:resnet18, mine"]
    same = pareto_plan(["a/own.yaml", "b/own.yaml"], ["resnet-rs"], "digits")
    assert same.labels == ["a/own.yaml", "b/own.yaml"]


def test_all_mistakes_in_a_plan_are_named(tmp_path):
    text = "title: x\nitems:\n- {modell: a, recipe: r, data: d}\n- {model: a, recipe: r, data: d, seed: x}\n"
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        from_file(tmp_path / "plan.yaml")
    text = "\n".join(caught.value.lines)
    assert "'model'" in text and "seed" in text


def test_a_plan_of_several_recipes_compares_them():
    made = pareto_plan(
        ["resnet26x0.25@32", "resnet50x0.25@32"], ["resnet-2015", "resnet-rs"], "digits", seeds=2
    )
    assert len(made.items) == 8 and len(made.labels) == 4
    assert {item.group for item in made.items} == {"resnet, resnet-2015", "resnet, resnet-rs"}
    assert [item.seed for item in made.items] == [0] * 4 + [1] * 4
    assert len({item.name for item in made.items}) == 8


def test_a_network_named_twice_is_refused():
    with pytest.raises(UserError, match="both called"):
        pareto_plan(["resnet26", "resnet26"], ["resnet-rs"], "digits")
    with pytest.raises(UserError, match="at least one model"):
        pareto_plan([], ["resnet-rs"], "digits")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("resnetrs50x0.25@160", "resnetrs"),
        ("resnet2-2-2-2+se@32", "resnet"),
        ("timm:resnetrs50@160", "timm:resnetrs"),
        ("timm:mobilenetv3_small_050", "timm:mobilenetv3"),
        ("timm:efficientnet_b0", "timm:efficientnet"),
        ("python:mine.nets:convnet", "convnet"),
        ("nets/own.yaml", "own"),
    ],
)
def test_families(model, expected):
    assert family(model) == expected


def test_results_are_plain_json(tmp_path):
    study, _, _ = run(tmp_path / "s", plan(FEW, seeds=1))
    result = json.loads((study.run(study.plan.items[0]) / "result.json").read_text())
    assert study.results()[study.plan.items[0]] == result
    assert isinstance(study.plan, Plan) and isinstance(study.plan.items[0], Item)


def test_how_far_a_training_is(tmp_path):
    from rescale.studies.display import progress_of

    assert progress_of(tmp_path) == (0, None, "starting")
    (tmp_path / "recipe.yaml").write_text("name: resnet-rs\nepochs: 16  # from --set\nwarmup_epochs: 5\n")
    assert progress_of(tmp_path) == (0, None, "starting")
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "data": "digits"}))
    assert progress_of(tmp_path) == (0, 16, "")
    rows = [
        {"kind": "train", "epoch": 1, "step": 9, "loss": 2.3},
        {"kind": "eval", "epoch": 1, "step": 9, "raw": {"top1": 9.0}, "averaged": {"top1": 51.25}},
        {"kind": "train", "epoch": 2, "step": 12, "loss": 2.1},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for cut, expected in (
        (1, (0, 16, "train loss 2.30")),
        (2, (1, 16, "top-1 51.25 %")),
        (3, (1, 16, "top-1 51.25 %")),
    ):
        (tmp_path / "metrics.jsonl").write_text("".join(text.splitlines(True)[:cut]))
        assert progress_of(tmp_path) == expected
    (tmp_path / "metrics.jsonl").write_text(text + '{"kind": "tra')
    assert progress_of(tmp_path) == (1, 16, "top-1 51.25 %")


def test_how_far_a_training_of_so_many_steps_is(tmp_path):
    from rescale.studies.display import progress_of

    (tmp_path / "recipe.yaml").write_text("name: pose\nepochs: 90\nsteps: 500\n")
    (tmp_path / "run.json").write_text(json.dumps({"format": 2, "headline": ERROR.as_json()}))
    assert progress_of(tmp_path) == (0, 500, "")
    rows = [
        {"kind": "train", "epoch": 1, "step": 40, "loss": 2.3},
        {"kind": "eval", "epoch": 1, "step": 44, "raw": {"angle": 12.345}},
        {"kind": "train", "epoch": 2, "step": 60, "loss": 2.1},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert progress_of(tmp_path) == (60, 500, "mean error 12.35 degrees")


def test_a_finished_training_is_shown_by_its_headline_figure(tmp_path, capsys):
    from rescale.studies.display import Display

    made = plan(FEW, seeds=1)
    StudyFolder(tmp_path).keep_plan(made)
    for item, figure in zip(made.items, (TOP_1, ERROR), strict=False):
        finish(StudyFolder(tmp_path), item, 90.0, figure)
        Display(made).finished(item, StudyFolder(tmp_path).result(item))
    first, second = capsys.readouterr().err.splitlines()
    assert "seed 0: top-1 90.00 % in 0:32" in first
    assert "seed 0: mean error 10.00 degrees in 0:32" in second


def test_each_finished_training_says_what_remains(tmp_path, monkeypatch, capsys):
    """Parts of earlier calls, whole trainings and the resumed one's epochs, took none of this call's time."""
    from rescale.studies.display import Display

    made = plan(FEW, seeds=1)
    assert len(made.items) == 4
    StudyFolder(tmp_path).keep_plan(made)
    study = StudyFolder(tmp_path)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    display = Display(made)
    display.begin(1)
    _, resumed, other, last = made.items

    def epochs_of(item: Item, done: int) -> None:
        folder = study.run(item)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.yaml").write_text("epochs: 10\n")
        (folder / "run.json").write_text(json.dumps({"format": 1, "data": "digits"}))
        row = {"kind": "eval", "epoch": done, "step": done, "raw": {"top1": 9.0}}
        (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")

    epochs_of(resumed, 5)
    display.started(resumed, study.run(resumed))
    display.started(other, study.run(other))
    now[0] += 60
    epochs_of(other, 5)
    finish(study, resumed, 90.0, TOP_1)
    display.finished(resumed, study.result(resumed))  # a half of each in a minute: one and a half remain
    display.again(other, "killed")
    display.started(other, study.run(other))
    now[0] += 60
    finish(study, other, 90.0, TOP_1)
    display.finished(other, study.result(other))
    display.started(last, study.run(last))
    finish(study, last, 90.0, TOP_1)
    display.finished(last, study.result(last))
    lines = [line for line in capsys.readouterr().err.splitlines() if "top-1" in line]
    assert [line.partition("in 0:32")[2] for line in lines] == [", about 1:30 left", ", about 1:20 left", ""]


def test_results_of_format_1_are_read_in_format_2(tmp_path):
    made = plan(FEW, seeds=1)
    study, _, _ = run(tmp_path / "s", made)
    expected = aggregate(study.results(), study.timings())
    for item in made.items[:2]:  # the others stay in format 2
        file = study.run(item) / "result.json"
        result = json.loads(file.read_text())
        figures = result.pop("figures")
        for name in ("task", "headline", "raw"):
            del result[name]
        old = {"top1": figures["top1"], "top5": figures["top5"], "loss": figures["loss"]}
        file.write_text(json.dumps({**result, **old, "top1_raw": figures["top1"]}))
    assert study.result(made.items[0])["figures"]["top1"] == 90.0
    assert aggregate(study.results(), study.timings()) == expected


def test_a_plan_is_held_against_what_there_is():
    made = pareto_plan(["resnetrs26x0.25@32", "resnetsr50"], ["resnet-r"], "digts", seeds=2)
    with pytest.raises(UserError) as caught:
        check(made)
    lines = caught.value.lines
    assert len(lines) == 3
    assert "'resnetsr50'" in lines[0] and "'resnet-rs'" in lines[1] and "'digits'" in lines[2]
    large = pareto_plan(["resnetrs26x0.25@32"], ["resnet-rs"], "digits")
    with pytest.raises(UserError, match=r"batch 4096 is larger than the data \(14.. training images\)"):
        check(large)
    check(pareto_plan(["resnetrs26x0.25@32"], ["resnet-rs"], "digits", changes=["batch=64"]))


def test_threads_workers_and_mode_reach_the_trainings_and_the_timing(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from rescale.cli import studies as commands
    from rescale.cli.app import app
    from rescale.studies.trainings import job_of

    carried, jobs = [], []
    monkeypatch.setattr(commands, "carry_out", lambda *values: carried.append(values))
    monkeypatch.setattr(process.subprocess, "Popen", lambda words, **_: jobs.append(json.loads(words[-1])))
    words = "study pareto --models resnetrs26x0.25@32 --data digits --set batch=64 --device cpu --out a"
    more = "--mode infer --batch 1 --threads 1 --workers 2 --fast"
    for fast, trained in (("contiguous", "contiguous"), ("auto", "channels_last")):
        result = CliRunner().invoke(app, [*words.split(), *more.split(), fast])
        assert result.exit_code == 0, result.exception
        _, plan, settings, *_ = carried[-1]
        assert (plan.timing.threads, plan.timing.batch, plan.timing.fast) == (1, 1, fast)
        study = StudyFolder(tmp_path / fast)
        study.keep_plan(plan)
        job = job_of(study, plan.items[0], settings, Division(1, 2, settings.device))
        LocalExecutor().start([job])
        assert jobs[-1]["settings"] == {
            "device": "cpu",
            "threads": 2,
            "workers": 2,
            "fast": trained,
            "on_bad_image": "raise",
            "eval_epochs": 1,
        }
    for fast, message in (("graphs", "CUDA graphs need a GPU"), ("compiled", "did you mean 'compile'")):
        result = CliRunner().invoke(app, [*words.split(), *more.split(), fast])
        assert isinstance(result.exception, UserError) and message in str(result.exception)
