"""--train PATH --val PATH in every command: trained on, stored, resumed, evaluated, in plans and workers."""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from data_files import samples, write_folder, write_tar
from rescale.cli import main
from rescale.data import DataSpec
from rescale.errors import UserError
from rescale.studies import check, pareto_plan
from rescale.studies.plan_file import from_file, to_yaml
from rescale.studies.worker import work
from rescale.training import Run, resume

NET = "resnet1-1x0.0625+smallstem@8"
SHORT = ("--set", "epochs=1", "--set", "batch=6", "--set", "precision=fp32", "--threads", "1")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs `rescale ...`; returns the exit code, what was printed with its lines joined, and errors."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rescale", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
            sys.exit(0)
        printed, errors = capsys.readouterr()
        return int(caught.value.code or 0), " ".join(printed.split()), errors

    return run


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path]:
    """A training and a held-out part, with names from which nobody would know."""
    first, second = tmp_path / "data" / "first", tmp_path / "data" / "second"
    write_folder(first, per_class=4)
    write_folder(second, per_class=2, start=100)
    return first, second


def test_a_run_keeps_its_parts(command, parts: tuple[Path, Path], tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "run"
    monkeypatch.chdir(tmp_path)  # relative paths are stored as absolute ones
    code, printed, _ = command(
        "train", NET, "--train", "data/first", "--val", "data/second", "--out", out, *SHORT
    )
    assert code == 0 and "on 6 images" in printed
    stated = {"train": str(parts[0]), "val": str(parts[1])}
    run = Run.open(out)
    assert run.facts["data"] == stated and run.data["train"] == 12 and run.data["val"] == 6
    assert run.result is not None and run.result["data"] == f"{parts[0]} and {parts[1]}"
    monkeypatch.chdir("/")
    code, printed, _ = command("eval", out)
    assert code == 0 and "on 6 images" in printed

    (out / "result.json").unlink()
    assert resume(out, quiet=True).result == run.result | {
        "seconds": pytest.approx(run.result["seconds"], abs=60)
    }
    (out / "result.json").unlink()
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="data: no such data"):
        resume(out, quiet=True)
    moved = tmp_path / "moved"
    code, printed, _ = command(
        "train", "--resume", out, "--train", moved / "first", "--val", moved / "second"
    )
    assert code == 0 and "on 6 images" in printed
    code, printed, _ = command("eval", out, "--val", moved / "first")
    assert code == 0 and "on 12 images" in printed


def test_what_is_recognised_is_printed_before_training(command, tmp_path: Path) -> None:
    for part in ("Training", "Testing"):
        write_folder(tmp_path / "data" / part)
    expected = "parts by their names: Training/ for training, Testing/ for validation"
    code, printed, _ = command("data", "info", tmp_path / "data")
    assert code == 0 and expected in printed
    code, printed, errors = command(
        "train", NET, "--data", tmp_path / "data", "--out", tmp_path / "run", *SHORT
    )
    assert code == 0 and expected in errors and expected not in printed
    assert expected in Run.open(tmp_path / "run").data["notes"]
    code, printed, _ = command("eval", tmp_path / "run")
    assert code == 0 and f"note: {expected}" in printed


def test_wrong_combinations_are_refused(command, parts: tuple[Path, Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    for words, error in (
        (("train", NET, "--data", "digits", "--val", parts[1], *out), "both the data digits and --val"),
        (("train", NET, "--val", parts[1], *out), "only a validation part"),
        (("train", NET, *out), "--data missing"),
        (("data", "info"), "no data given"),
        (("data", "info", "digits", "--train", parts[0]), "both the data digits and --train"),
        (("data", "show", "--val", parts[1], "-o", tmp_path / "a.png"), "no training images to draw"),
        (("study", "pareto", "--models", NET, *out), "--data missing"),
    ):
        code, _, errors = command(*words)
        assert code == 2 and error in errors and "Traceback" not in errors
    assert not (tmp_path / "run").exists()


def test_data_commands_read_stated_parts(command, parts: tuple[Path, Path], tmp_path: Path) -> None:
    stated = ("--train", parts[0], "--val", parts[1])
    code, printed, _ = command("data", "info", *stated)
    assert code == 0 and "12 for training, 6 for validation" in printed
    code, printed, _ = command("data", "info", "--val", parts[1])
    assert code == 0 and "0 for training, 6 for validation" in printed
    code, printed, _ = command("data", "verify", *stated)
    assert code == 0 and "18 images decoded, none damaged" in printed
    code, _, _ = command("data", "show", *stated, "--resolution", 32, "-o", tmp_path / "a.png")
    assert code == 0 and (tmp_path / "a.png").is_file()


def test_no_image_to_validate_on_is_said_before_training(command, tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "one-of-each.tar", samples(range(3)))
    words = ("--set", "epochs=1", "--set", "batch=2")
    code, _, errors = command("train", NET, "--data", shard, "--out", tmp_path / "run", *words)
    assert code == 2 and "no validation part" in errors and "--train PATH --val PATH" in errors
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="no validation part"):
        check(pareto_plan([NET], ["resnet-rs"], str(shard), changes=["epochs=1", "batch=2"]))


def test_plans_and_workers_keep_stated_parts(parts: tuple[Path, Path], tmp_path: Path) -> None:
    spec = DataSpec.of({"train": str(parts[0]), "val": str(parts[1])})
    plan = pareto_plan([NET], ["resnet-rs"], spec, changes=["epochs=1", "batch=6"])
    assert check(plan).notes == [] and plan.title.startswith("data:")
    whole = pareto_plan([NET], ["resnet-rs"], str(parts[0]), changes=["epochs=1", "batch=6"])
    assert check(whole).notes == [
        "first: no validation part: 3 images held out for it, a tenth of each class"
    ]
    (tmp_path / "plan.yaml").write_text(to_yaml(plan))
    assert from_file(tmp_path / "plan.yaml") == plan
    job = {"item": asdict(plan.items[0]), "out": str(tmp_path / "run"), "weights": ""}
    job["settings"] = {"threads": 1}
    work(json.loads(json.dumps(job)))
    assert Run.open(tmp_path / "run").facts["data"] == spec.stored()


def test_a_plan_by_hand_states_parts(parts: tuple[Path, Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = tmp_path / "plan.yaml"
    item = "- model: resnet50\n  recipe: resnet-rs\n  data: {train: data/first, %s: data/second}\n"
    text = f"title: t\nitems:\n{item}"
    written.write_text(text % "val")
    assert from_file(written).items[0].data == DataSpec("", str(parts[0]), str(parts[1]))
    written.write_text(text % "vall")
    with pytest.raises(UserError, match=r"vall.*'val'"):
        from_file(written)
    written.write_text(
        "data: {train: data/first, vall: data/second}\nitems: [{model: resnet50, recipe: resnet-rs}]"
    )
    with pytest.raises(UserError, match=r"vall.*'val'"):
        from_file(written)
    written.write_text(written.read_text().replace("vall", "val"))
    made = from_file(written)
    assert made.items[0].data == DataSpec("", str(parts[0]), str(parts[1]))
    assert made.title == "data: speed and accuracy"


def test_data_that_recognition_finds_resumes_a_run_of_stated_parts(
    parts: tuple[Path, Path], tmp_path: Path, command
) -> None:
    out = tmp_path / "run"
    assert command("train", NET, "--train", parts[0], "--val", parts[1], "--out", out, *SHORT)[0] == 0
    (out / "result.json").unlink()
    shutil.move(parts[0], tmp_path / "named" / "train")
    shutil.move(parts[1], tmp_path / "named" / "val")
    assert command("train", "--resume", out, "--data", tmp_path / "named")[0] == 0
