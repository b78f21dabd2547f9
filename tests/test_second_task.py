"""A task of another kind goes through data, loop, exact resume, evaluation, timing, study and page; nothing
outside `tasks/` knows what it learns. `angle_task.py` is the task."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import rescale
from rescale.cli import main
from rescale.data import open_data
from rescale.errors import UserError
from rescale.recipes import recipe, with_changes
from rescale.studies import check
from rescale.studies.plan import Item, Plan
from rescale.tasks import task_of
from rescale.training import Run, Settings, evaluate_folder, resume, train
from rescale.training.loop import TrainingLoop
from rescale.training.predictions import read_predictions

NET = "resnetrs1-1x0.25+smallstem@8"
TASK = "task.name=python:angle_task:create"
CHANGES = ["epochs=6", "batch=64", "lr=0.05", "precision=fp32", "ema=0", TASK, "task.largest=45"]


def begin(out: Path, *changes: str) -> Run:
    chosen = with_changes(recipe("resnet-rs"), [*CHANGES, *changes])
    settings = Settings(threads=1, save_minutes=0.0)
    return train(rescale.network(NET), chosen, "digits", out, settings=settings, quiet=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return begin(tmp_path_factory.mktemp("angles") / "whole")


def test_it_learns_and_the_run_says_by_which_figure(whole: Run) -> None:
    assert whole.headline.label == "mean error" and not whole.headline.higher_is_better
    errors = [row["raw"]["error"] for row in whole.metrics() if row["kind"] == "eval"]
    assert errors[-1] < 20 < 22.5  # degrees; guessing 0 is wrong by 22.5 in the mean
    assert whole.result["figures"]["error"] == errors[-1]
    assert whole.result["task"] == "python:angle_task:create"
    assert [row["error"] for row in whole.metrics() if row["kind"] == "train"]
    assert whole.model.head.classes == 1


def test_the_best_epoch_is_the_one_of_the_least_error(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", "keep_best=true", "minival=0.1", "lr=0.08")
    errors = [row["raw"]["error"] for row in run.metrics() if row["kind"] == "eval"]
    assert run.result["best_epoch"] == 1 + int(np.argmin(errors))


def test_predictions_of_single_images_give_the_figure(whole: Run) -> None:
    columns = read_predictions(whole.path / "predictions.parquet")
    errors = np.abs(columns["target"] - columns["degrees"])
    assert errors.mean() == pytest.approx(whole.result["figures"]["error"], rel=1e-6)
    source = open_data("digits").val
    assert columns["key"].tolist() == [source.key(int(i)) for i in columns["index"]]


def test_stopped_anywhere_it_ends_the_same(whole: Run, tmp_path: Path, monkeypatch) -> None:
    stops = [3, 22, 31]
    original = TrainingLoop.save_if_due

    def stop_here(self: TrainingLoop) -> None:
        original(self)
        if stops and self.position.step == stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLoop, "save_if_due", stop_here)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "cut")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            resume(tmp_path / "cut", quiet=True)
    cut = resume(tmp_path / "cut", quiet=True)
    a, b = (load_file(run.path / "model.safetensors") for run in (whole, cut))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert cut.result["figures"] == whole.result["figures"]


def test_it_is_evaluated(whole: Run) -> None:
    figures = evaluate_folder(whole.path).figures
    assert figures["error"] == pytest.approx(whole.result["figures"]["error"], rel=1e-4)


def test_its_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.least: the angle task has no such option; known: largest"):
        begin(tmp_path / "run", "task.least=3")
    with pytest.raises(UserError, match="classification has no such option"):
        task_of(with_changes(recipe("resnet-rs"), ["task.largest=3"]))
    with pytest.raises(UserError, match="no task is named 'clasification'; did you mean 'classification'"):
        task_of(with_changes(recipe("resnet-rs"), ["task.name=clasification"]))


def test_a_study_of_two_tasks_is_refused_before_it_starts() -> None:
    angles, classes = ("epochs=2", "batch=64", TASK), ("epochs=2", "batch=64")
    items = tuple(
        Item(NET, "resnet-rs", "digits", changes=changes, label=NET) for changes in (angles, classes)
    )
    check(Plan("angles", items[:1]))
    with pytest.raises(UserError, match=r"mean error .* top-1 .* make a study for each figure"):
        check(Plan("both", tuple(items)))


def test_samples_are_drawn(tmp_path: Path, monkeypatch) -> None:
    words = ["data", "show", "digits", "--model", NET, "--set", TASK, "-o", str(tmp_path / "grid.png")]
    monkeypatch.setattr(sys, "argv", ["rescale", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code and (tmp_path / "grid.png").stat().st_size > 10_000


def test_a_study_of_it(tmp_path: Path, monkeypatch, capfd) -> None:
    """Trained and timed by processes of their own, which find the task by its name."""
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{':'.join(sys.path)}")
    words = ["study", "pareto", "--models", f"{NET},resnet1-1x0.25+smallstem@8", "--data", "digits"]
    words += ["--out", str(tmp_path / "study"), "--device", "cpu", "--batch", "4"]
    words += [word for change in [*CHANGES, "epochs=2"] for word in ("--set", change)]
    monkeypatch.setattr(sys, "argv", ["rescale", *words])
    with pytest.raises(SystemExit) as ended:
        main()
        sys.exit(0)
    shown = capfd.readouterr()
    assert not ended.value.code, shown.err
    page = (tmp_path / "study" / "report.html").read_text()
    assert "mean error" in page and "degrees" in page and "top-1" not in page.split("<script")[0]
    assert "mean error" in (tmp_path / "study" / "pareto.svg").read_text()
    assert "error" in (tmp_path / "study" / "results.csv").read_text().splitlines()[1]
    result = json.loads(next((tmp_path / "study" / "runs").glob("*/result.json")).read_text())
    assert result["figures"]["error"] > 0
