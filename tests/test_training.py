"""The loop, its run folder, and interruptions (numbers: lines of the reliability specification)."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import rescale
from data_files import write_folder
from rescale.cli.train import summary
from rescale.data import LoadingFailed, open_data
from rescale.errors import JobError, UserError
from rescale.files import locked
from rescale.models import make, model_named
from rescale.models.folder import write_model
from rescale.recipes import recipe, resolve
from rescale.tasks.classification import Classification
from rescale.training import Run, Settings, check_batch, evaluate_folder, resume, train
from rescale.training import loop as loop_module
from rescale.training.begin import identity
from rescale.training.feed import Feed, Stopped
from rescale.training.loop import TrainingLoop
from rescale.training.predictions import read_predictions

NET = "resnetrs1-1x0.125+smallstem@8"
SMALL = {"epochs": 2, "batch": 256, "flip": 0.0, "precision": "fp32"}  # 5 steps an epoch
EVERY_STEP = Settings(save_minutes=0.0, threads=1, log_steps=2)
TIMES = ("seconds", "images_per_s", "machine")


def begin(out: Path, settings: Settings = EVERY_STEP, net: str = NET, seed: int = 0, **changes) -> Run:
    return train(
        rescale.network(net),
        recipe("resnet-rs", **(SMALL | changes)),
        "digits",
        out,
        seed=seed,
        settings=settings,
        quiet=True,
    )


def without_times(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def assert_same_end(a: Run, b: Run) -> None:
    """Weights, averages, optimizer, metrics and figures are equal, bit for bit."""
    for name in ("model.safetensors",):
        left, right = load_file(a.path / name), load_file(b.path / name)
        assert left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)
    last = [sorted((run.path / "checkpoints").glob("step-*"))[-1] for run in (a, b)]
    for part in ("model", "average", "optimizer"):
        if (last[0] / f"{part}.safetensors").is_file():
            left, right = (load_file(path / f"{part}.safetensors") for path in last)
            assert left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left), (
                part
            )
    assert without_times(a.metrics()) == without_times(b.metrics())
    assert without_times([a.result]) == without_times([b.result])


def test_a_run_learns_and_leaves_everything(tmp_path) -> None:
    run = begin(tmp_path / "run", epochs=6, batch=64, lr=0.2, augment="none", crop_area_min=0.6)
    result = run.result
    assert result["figures"]["top1"] > 80 and result["val_images"] == 360 and result["steps"] == 6 * 22
    names = {path.name for path in run.path.iterdir()}
    assert {"network.yaml", "recipe.yaml", "data.json", "run.json", "metrics.jsonl", "result.json"} <= names
    assert {"tensorboard", "checkpoints", "model.safetensors"} <= names
    assert list((run.path / "tensorboard").iterdir())
    kinds = [row["kind"] for row in run.metrics()]
    assert kinds.count("eval") == 6 and kinds.count("train") == 6 * 11
    assert run.model == rescale.network(NET).with_classes(10)
    assert isinstance(run.recipe.lr, float) and "# " in (run.path / "recipe.yaml").read_text()
    figures = evaluate_folder(run.path).figures
    assert figures["top1"] == pytest.approx(result["figures"]["top1"]) and figures["loss"] == pytest.approx(
        result["figures"]["loss"], rel=1e-5
    )


def test_predictions_of_single_images_give_the_figures(tmp_path) -> None:
    """Those of the reported weights: the averaged ones, with keep_best those of the best epoch."""
    for name, changes in {"last": {}, "best": {"keep_best": True, "minival": 0.1}}.items():
        run = begin(tmp_path / name, epochs=3, batch=128, lr=0.1, **changes)
        columns = read_predictions(run.path / "predictions.parquet")
        target, top, figures = columns["target"], columns["top"], run.result["figures"]
        assert 100 * (top[:, 0] == target).mean() == pytest.approx(figures["top1"])
        assert 100 * (top == target[:, None]).any(1).mean() == pytest.approx(figures["top5"])
        assert top.shape == columns["probability"].shape == (360, 5)
        assert (np.diff(columns["probability"], axis=1) <= 0).all() and columns["probability"].max() <= 1
        source = rescale.open_data("digits").val
        assert columns["key"].tolist() == [source.key(i) for i in range(360)]
        assert target.tolist() == source.strata.tolist()


# line 1, 2, 3, 22: at any position, twice in an epoch, with accumulation; the next epoch is complete
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accumulate": 2, "mixup": 0.2, "clip_grad": 1.0},
        {"ema": 0.0, "optimizer": "rmsprop"},
        {"optimizer": "adamw", "lr": 1e-3, "mixup": 0.8, "cutmix": 1.0, "random_erasing": 0.5},
        {"optimizer": "muon", "lr": 1e-3},
    ],
)
def test_a_run_stopped_anywhere_ends_the_same(tmp_path, monkeypatch, changes: dict) -> None:
    changes |= {"dropout": 0.3, "stochastic_depth": 0.2}
    whole = begin(tmp_path / "whole", **changes)
    stops = [2, 3, 5, 7]  # inside an epoch, twice; at its end; after it
    original = TrainingLoop.save_if_due

    def stop_here(self: TrainingLoop) -> None:
        original(self)
        if stops and self.position.step == stops[0] and self.position.step % self.epoch_steps:
            stops.pop(0)
            raise KeyboardInterrupt
        if stops and self.position.step == stops[0] == self.epoch_steps and self.position.evaluated == 0:
            stops.pop(0)
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLoop, "save_if_due", stop_here)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "cut", **changes)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            resume(tmp_path / "cut", quiet=True)
    assert not stops
    assert_same_end(whole, resume(tmp_path / "cut", quiet=True))


def test_seeds_and_steps_decide_everything(tmp_path) -> None:
    torch.manual_seed(123)
    a = begin(tmp_path / "a", dropout=0.3)
    torch.manual_seed(456)
    state = torch.get_rng_state()
    b = begin(tmp_path / "b", dropout=0.3)
    assert_same_end(a, b)
    assert a.facts["identity"] == b.facts["identity"] != begin(tmp_path / "c", seed=1).facts["identity"]
    del state


def test_the_initialisation_is_part_of_a_runs_identity_where_it_is_unusual() -> None:
    """Runs of named networks keep the identities that they had before the initialisation could be chosen."""
    data, short = open_data("digits"), recipe("resnet-rs", epochs=1, batch=64)
    for name, usual, before in (
        ("resnetrs50", "resnet-rs", "65bf35a3f0712ed9"),
        ("regnety_004", "fast-scaling", "1966dc87f6b000c1"),
        ("efficientnet_b0", "efficientnet", "851cc72203c51663"),
    ):
        net = rescale.network(name)
        inits = ("resnet-rs", "fast-scaling", "efficientnet")
        chosen = {init: identity(replace(net, init=init), short, data.digest, 0) for init in inits}
        assert (
            identity(net, short, data.digest, 0) == chosen[usual] == before and len(set(chosen.values())) == 3
        )


# line 5, 8, 9: a real process with workers, killed at random, more than once
def test_sigkill_at_random_steps_and_resume(tmp_path) -> None:
    words = [
        "train",
        NET,
        "--data",
        "digits",
        "--seed",
        "3",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--save-minutes",
        "0",
    ]
    for key, value in {"epochs": 4, "batch": 128, "flip": 0, "precision": "fp32", "dropout": 0.3}.items():
        words += ["--set", f"{key}={value}"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(
        [sys.executable, "-m", "rescale", *words, "--workers", "1", "--out", str(whole)],
        check=True,
        capture_output=True,
    )
    chance = random.Random(0)
    command = [*words, "--workers", "2", "--out", str(cut)]
    killed = []
    while len(killed) < 3:
        process = subprocess.Popen(
            [sys.executable, "-m", "rescale", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        goal = (killed[-1] if killed else 0) + chance.randint(2, 12)
        deadline = time.monotonic() + 120
        while latest(cut) < goal and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL, process.stderr.read()
        killed.append(latest(cut))
        command = ["train", "--resume", str(cut)]
    assert killed[0] > 0 and killed[-1] < 44
    subprocess.run([sys.executable, "-m", "rescale", *command], check=True, capture_output=True)
    assert_same_end(Run.open(whole), Run.open(cut))


def latest(folder: Path) -> int:
    """Step of the newest finished checkpoint."""
    checkpoints = sorted((folder / "checkpoints").glob("step-*")) if folder.is_dir() else []
    return int(checkpoints[-1].name.removeprefix("step-")) if checkpoints else 0


# lines 5, 6, 8: told to stop with workers, it saves, says how to resume, and exits with 1
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_group_saves_and_stops(tmp_path, number: int) -> None:
    out = tmp_path / "run"
    words = [
        "train",
        NET,
        "--data",
        "digits",
        "--workers",
        "2",
        "--device",
        "cpu",
        "--set",
        "epochs=200",
        "--set",
        "batch=64",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "rescale", *words, "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not Run(out).metrics() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, number)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and f"rescale train --resume {out}" in text and "Traceback" not in text
    assert latest(out) > 0
    assert Run.open(out).result is None


@pytest.mark.parametrize("step", [2, 22])  # 22: in the evaluation after the first epoch
def test_a_killed_loading_process_saves_and_stops(tmp_path, monkeypatch, step: int) -> None:
    """The system kills one when memory is full; the run resumes with fewer, to the same end."""
    settings = Settings(save_minutes=9, threads=1, log_steps=2)
    whole = begin(tmp_path / "whole", settings, batch=64)
    take = Feed._take

    def take_and_kill(self, stream, count):
        taken = take(self, stream, count)
        calls.append(count)
        if len(calls) == step + 1:
            for process in multiprocessing.active_children():
                process.kill()
        return taken

    calls: list[int] = []
    monkeypatch.setattr(Feed, "_take", take_and_kill)
    with pytest.raises(LoadingFailed, match=r"was killed.* --resume .* --workers 1") as caught:
        begin(tmp_path / "cut", replace(settings, workers=2), batch=64)
    monkeypatch.undo()
    reached = latest(tmp_path / "cut")
    assert f"stopped and saved at step {reached}" in str(caught.value) and "\n" not in str(caught.value)
    # what was loaded before is trained on: the batch that was taken, and those that had reached this process
    assert reached == step if step == 22 else step < reached <= step + 5
    assert_same_end(whole, resume(tmp_path / "cut", workers=0, quiet=True))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the children of a process are read from /proc")
def test_the_command_survives_the_end_of_a_loading_process(tmp_path) -> None:
    out = tmp_path / "run"
    words = ["train", NET, "--data", "digits", "--workers", "2", "--device", "cpu", "--set", "batch=64"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rescale", *words, "--set", "epochs=200", "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not Run(out).metrics() and process.poll() is None:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in text
    last = text.splitlines()[-1]
    assert last.startswith("stopped: ") and "loading process" in last and "memory is full" in last
    assert latest(out) > 0


def test_a_run_on_relative_data_goes_on_in_another_folder(tmp_path, monkeypatch) -> None:
    """In cron, in Slurm, in another shell: the data's place was known when the run began."""
    write_folder(tmp_path / "pets", 8)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    chosen = recipe("resnet-rs", **SMALL | {"batch": 8})
    cut_at(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train(rescale.network(NET), chosen, "pets", "run", settings=EVERY_STEP, quiet=True)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = resume(tmp_path / "run", quiet=True)
    figures = evaluate_folder(run.path, workers=0).figures
    assert figures["images"] == 3 and figures["data"] == str(tmp_path / "pets")


def test_stop_during_evaluation_keeps_the_raw_weights(tmp_path, monkeypatch) -> None:
    whole = begin(tmp_path / "whole")
    original = loop_module.evaluate
    calls = []

    def evaluate(*args, **options):
        calls.append(1)
        if len(calls) == 2:  # the averaged weights of the first epoch are in the model
            raise Stopped("asked")
        return original(*args, **options)

    monkeypatch.setattr(loop_module, "evaluate", evaluate)
    with pytest.raises(Stopped):
        begin(tmp_path / "cut", settings=Settings(save_minutes=9, threads=1, log_steps=2))
    resumed = resume(tmp_path / "cut", quiet=True)
    assert_same_end(whole, resumed)


# line 12: the newest complete checkpoint; damaged ones are skipped and named
def test_damaged_checkpoints_are_skipped(tmp_path, monkeypatch, capsys) -> None:
    whole = begin(tmp_path / "whole")
    cut_at(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "cut")
    monkeypatch.undo()
    newest = sorted((tmp_path / "cut" / "checkpoints").glob("step-*"))[-1]
    data = bytearray((newest / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1  # one flipped bit
    (newest / "model.safetensors").write_bytes(data)
    resumed = resume(tmp_path / "cut")
    assert (
        f"{newest.name}: damaged, not used: model.safetensors is damaged"
        in capsys.readouterr().err.replace("\n", "")
    )
    assert_same_end(whole, resumed)


def cut_at(monkeypatch, step: int) -> None:
    original = TrainingLoop.save_if_due

    def stop_here(self: TrainingLoop) -> None:
        original(self)
        if self.position.step == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLoop, "save_if_due", stop_here)


# lines 10, 11: a full disk gives one line; the previous checkpoint stays, and no partial one is left
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch) -> None:
    cut_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "run")
    monkeypatch.undo()
    before = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    script = (
        "import resource, sys\n"
        "from rescale.training import resume\n"
        "from rescale.errors import JobError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        f"try: resume({str(tmp_path / 'run')!r}, quiet=True)\n"
        "except JobError as error: print('JOB', error); sys.exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "JOB" in done.stdout and "cannot be written" in done.stdout, done.stderr[
        -500:
    ]
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == before
    resume(tmp_path / "run", quiet=True)


def test_a_read_only_folder(tmp_path) -> None:
    if os.geteuid() == 0:
        with pytest.raises(JobError, match="cannot be created"):
            begin(Path("/proc/run"))
        return
    tmp_path.chmod(0o500)
    with pytest.raises(JobError, match="cannot be created"):
        begin(tmp_path / "run")


# line 13: NaN stops before the update and names the step
def test_nan_stops_before_the_update(tmp_path, monkeypatch) -> None:
    original = Classification.losses
    seen = {}

    def losses(self, model, batch, seed, processes):
        result = original(self, model, batch, seed, processes)
        seen["calls"] = seen.get("calls", 0) + 1
        if seen["calls"] == 4:
            seen["before"] = [p.detach().clone() for p in model.parameters()]
            seen["model"] = model
            result = result._replace(loss=result.loss * float("nan"))
        return result

    monkeypatch.setattr(Classification, "losses", losses)
    with pytest.raises(JobError, match=r"step 3: the loss is nan; stopped before the update"):
        begin(tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(seen["before"], seen["model"].parameters(), strict=True))
    assert latest(tmp_path / "run") == 3


def test_a_gradient_that_is_not_finite_stops_too(tmp_path, monkeypatch) -> None:
    original = Classification.losses

    def losses(self, model, batch, seed, processes):
        model.head.linear.bias.register_hook(lambda gradient: gradient * float("inf"))
        return original(self, model, batch, seed, processes)

    monkeypatch.setattr(Classification, "losses", losses)
    with pytest.raises(JobError, match="step 0: the gradient"):
        begin(tmp_path / "run")


# line 14: the second writer refuses
def test_two_writers(tmp_path, monkeypatch) -> None:
    cut_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "run")
    monkeypatch.undo()
    with locked(tmp_path / "run"), pytest.raises(UserError, match="another process is writing"):
        resume(tmp_path / "run", quiet=True)
    assert resume(tmp_path / "run", quiet=True).result


def test_forked_processes_do_not_hold_the_lock(tmp_path) -> None:
    """Loading processes outlive a killed run by a few seconds, in which it may be resumed."""
    (begin, end), (heard, lives) = os.pipe(), os.pipe()
    with locked(tmp_path):
        child = os.fork()
        if child == 0:
            os.write(lives, b"1")
            os.read(begin, 1)
            os._exit(0)
        os.read(heard, 1)
    with locked(tmp_path):  # the child is still alive
        pass
    os.write(end, b"1")
    os.waitpid(child, 0)


# line 18: other data on resume is refused, with the difference
def test_changed_data_is_refused(tmp_path, monkeypatch) -> None:
    cut_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts | {"data_digest": "0" * 16}))
    with pytest.raises(UserError, match="not what the run was started with"):
        resume(tmp_path / "run", quiet=True)


def test_folders_that_hold_something(tmp_path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    begin(tmp_path / "run", epochs=1)
    for name, words in {"full": "is not empty", "file": "is a file", "run": "--resume"}.items():
        with pytest.raises(UserError, match=words):
            begin(tmp_path / name)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "x"


@pytest.mark.parametrize("written", [1, 2, 5])
def test_a_run_killed_at_its_creation_can_be_started_again(tmp_path, monkeypatch, written: int) -> None:
    """network.yaml, preprocess.json, recipe.yaml, data.json, run.json: `written - 1` of them are complete."""
    replace_file, replaced = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        replaced.append(target.name)
        if len(replaced) == written:
            os._exit(9)
        return replace_file(self, target)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Path, "replace", killed)
        begin(tmp_path / "run")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert any(name.endswith(".part") for name in left) and len(left) == written + 1  # and .lock
    if written > 1:
        with pytest.raises(UserError, match="ended before the first step; start it again with --out"):
            resume(tmp_path / "run")
    run = begin(tmp_path / "run", seed=1, epochs=1)
    assert run.facts["seed"] == 1 and run.result
    assert not list(run.path.rglob(".*.part"))


def test_a_folder_with_work_of_value_is_not_taken_for_a_run_killed_at_its_creation(tmp_path) -> None:
    begin(tmp_path / "run", epochs=1)
    for name in ("run.json", "result.json", "model.safetensors", "predictions.parquet"):
        (tmp_path / "run" / name).unlink()
    with pytest.raises(UserError, match="is not empty"):
        begin(tmp_path / "run")  # checkpoints after the first step
    (tmp_path / "mine").mkdir()
    write_model(tmp_path / "mine", rescale.network("resnet50"))
    with pytest.raises(UserError, match=r"holds the network.yaml of another network"):
        begin(tmp_path / "mine")


def test_a_batch_larger_than_the_data(tmp_path) -> None:
    with pytest.raises(UserError, match=r"batch 4096 is larger than the data \(1437 training images\)"):
        begin(tmp_path / "run", batch=4096)
    assert not (tmp_path / "run").exists()


def refused_by_torch(model: rescale.Network | rescale.External, images: int) -> bool:
    """Whether a forward pass in training mode fails."""
    module, _ = make(model)
    try:
        module.train()(torch.zeros(images, 3, model.resolution, model.resolution))
    except ValueError as error:
        assert "more than 1 value per channel" in str(error)
        return True
    return False


@pytest.mark.parametrize(
    ("name", "refused"),
    [("resnetrs1-1-1-1x0.0625@32", True), ("resnetrs1-1-1-1x0.0625@33", False), (NET, False),
     ("timm:resnet10t@32", True), ("timm:resnet10t@64", False), ("timm:vit_tiny_patch16_224", False)],
)  # fmt: skip
def test_one_image_is_refused_where_torch_cannot_train_on_it(tmp_path, name: str, refused: bool) -> None:
    model = model_named(name)
    assert refused_by_torch(model, 1) == refused and not refused_by_torch(model, 2)
    chosen = resolve(recipe("resnet-rs", **SMALL | {"batch": 4}), model).recipe
    for changes, processes, sync_bn, images in (
        ({"batch": 1}, 1, False, 1),
        ({"accumulate": 4}, 1, False, 1),
        ({"accumulate": 2}, 2, False, 1),
        ({"accumulate": 2}, 2, True, 2),
        ({"batch": 1, "freeze": "backbone"}, 1, False, 2),
        ({"accumulate": 2}, 1, False, 2),
    ):
        arguments = chosen.model_copy(update=changes), model, 100, processes, sync_bn
        if refused and images == 1:
            with pytest.raises(UserError, match="a micro-batch of one image gives batch norm"):
                check_batch(*arguments)
        else:
            check_batch(*arguments)


def test_one_image_is_refused_before_anything_is_written(tmp_path) -> None:
    with pytest.raises(UserError, match=r"stages\.3.*use two images or more, or a higher resolution"):
        begin(tmp_path / "run", net="resnetrs1-1-1-1x0.0625@32", batch=1)
    assert not (tmp_path / "run").exists()


def test_minival_is_never_trained_on_and_chooses_the_best(tmp_path, monkeypatch) -> None:
    seen = set()
    original = Classification.stream

    def stream(self, source, resolution, loading):
        for batch in original(self, source, resolution, loading):
            if loading.training:
                seen.update(source.describe(int(i)) for i in batch.indices)
            yield batch

    monkeypatch.setattr(Classification, "stream", stream)
    run = begin(tmp_path / "run", epochs=6, batch=64, keep_best=True, minival=0.1, lr=0.05)
    data = rescale.open_data("digits", minival=0.1)
    held = {data.minival.describe(i) for i in range(len(data.minival))}
    assert len(held) == pytest.approx(144, abs=8) and len(seen) > 1200 and not seen & held
    evals = [row for row in run.metrics() if row["kind"] == "eval"]
    assert {row["on"] for row in evals} == {"minival"}
    top = [row["averaged"]["top1"] for row in evals]
    assert run.result["best_epoch"] == 1 + top.index(max(top)) and run.result["val_images"] == 360
    assert evaluate_folder(run.path).figures["top1"] == pytest.approx(run.result["figures"]["top1"])


def test_weights_reported_are_the_averaged_ones(tmp_path) -> None:
    run = begin(tmp_path / "run")
    last = sorted((run.path / "checkpoints").glob("step-*"))[-1]
    average, reported = load_file(last / "average.safetensors"), load_file(run.path / "model.safetensors")
    assert all(torch.equal(average[name], reported[name]) for name in average)
    raw = load_file(last / "model.safetensors")
    assert any(not torch.equal(raw[name], reported[name]) for name in raw)


def test_a_full_gpu_gives_one_line_with_advice(tmp_path, monkeypatch) -> None:
    def full(self, *_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(TrainingLoop, "train_epoch", full)
    with pytest.raises(JobError, match="memory is full; start again with --set accumulate=4, or"):
        begin(tmp_path / "run", accumulate=2)


def test_a_gpu_run_is_not_resumed_without_a_gpu(tmp_path, monkeypatch) -> None:
    run = begin(tmp_path / "run", epochs=1)
    (run.path / "result.json").unlink()
    facts = run.facts
    facts["settings"]["device"] = "cuda"
    (run.path / "run.json").write_text(json.dumps(facts))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="was started on cuda, which this machine does not have"):
        resume(run.path, quiet=True)


def test_accumulation_is_one_large_batch(tmp_path) -> None:
    """Apart from batch norm, two halves give the gradient of the whole batch, so the losses are close."""
    rows = {}
    for parts in (1, 2):
        run = begin(tmp_path / f"{parts}", accumulate=parts, epochs=1, augment="none", lr=0.0)
        rows[parts] = [row["loss"] for row in run.metrics() if row["kind"] == "train"]
    assert rows[1] == pytest.approx(rows[2], rel=2e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_train(tmp_path, precision: str) -> None:
    plain = begin(tmp_path / "plain", epochs=1)
    run = begin(tmp_path / "run", epochs=1, precision=precision)
    assert run.result["precision"] == precision
    loss, expected = run.result["figures"]["loss"], plain.result["figures"]["loss"]
    assert 0 < abs(loss - expected) < 0.02 * expected
    scaler = json.loads((sorted((run.path / "checkpoints").glob("step-*"))[-1] / "state.json").read_text())[
        "scaler"
    ]
    assert bool(scaler) == (precision == "fp16")


def test_an_external_model_trains_by_the_same_recipe(tmp_path) -> None:
    from rescale.models import model_named

    run = train(
        model_named("timm:resnet10t@32"),
        recipe("resnet-rs", **(SMALL | {"epochs": 1})),
        "digits",
        tmp_path / "run",
        settings=Settings(threads=1),
        quiet=True,
    )
    assert run.result["model"] == "timm:resnet10t@32" and run.result["params"] > 10**6
    assert any("epochs 1 <= 100" in line for line in run.result["not_applied"])
    assert evaluate_folder(run.path).figures["top1"] == pytest.approx(run.result["figures"]["top1"])


def test_damaged_images_raise_or_are_skipped(tmp_path) -> None:
    from PIL import Image

    for part, counts in (("train", (24, 24)), ("val", (8, 9))):
        for name, count in zip("ab", counts, strict=True):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (9, 9), (i, 200 * (name == "a"), 3)).save(folder / f"{i}.png")
    for bad in ("train/a/3.png", "train/b/7.png", "val/b/8.png"):  # the last one is alone in its batch
        (tmp_path / "data" / bad).write_bytes(b"<html>not found</html>")

    def go(out: str, how: str) -> Run:
        settings = Settings(threads=1, on_bad_image=how)
        chosen = recipe("resnet-rs", epochs=2, batch=16)
        return train(
            rescale.network(NET),
            chosen,
            str(tmp_path / "data"),
            tmp_path / out,
            settings=settings,
            quiet=True,
        )

    with pytest.raises(JobError, match=r"\d\.png: not an image.*--on-bad-image skip"):
        go("raise", "raise")
    run = go("skip", "skip")
    assert run.result["bad_images"] == 3 and run.result["val_images"] == 16
    assert summary(run.path, run.result).endswith("; 3 damaged images skipped")
    figures, notes = evaluate_folder(run.path, on_bad_image="skip")
    (skipped,) = [note for note in notes if note.startswith("skipped: ")]
    assert "val/b/8.png: not an image" in skipped and figures["images"] == 16
    for i in range(12):
        (tmp_path / "data" / "train" / "a" / f"{i}.png").write_bytes(b"")
    with pytest.raises(JobError, match="more than 10 damaged images"):
        go("many", "skip")


def test_evaluating_on_other_classes_is_refused(tmp_path) -> None:
    from PIL import Image

    run = begin(tmp_path / "run", epochs=1)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (9, 9)).save(tmp_path / "data" / name / f"{i}.png")
    with pytest.raises(UserError, match="classes of the data that the model does not know: cat, dog"):
        evaluate_folder(run.path, str(tmp_path / "data"))


def test_a_run_from_a_later_format_is_refused(tmp_path, monkeypatch) -> None:
    cut_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        resume(tmp_path / "run")


def test_no_run_there(tmp_path) -> None:
    with pytest.raises(UserError, match="no run is here"):
        resume(tmp_path)
