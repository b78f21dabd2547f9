"""Many processes, started by torchrun: they match one process, stop and fail together, and resume exactly."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from in_processes import CUT, NET, begin, drawn, frozen
from rescale.errors import UserError
from rescale.models.folder import ModelFolder
from rescale.training import Run, Settings, resume
from rescale.training.norms import synchronise
from test_training import assert_same_end, latest

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
SCRIPT = Path(__file__).parent / "in_processes.py"


@contextmanager
def launched(*words: str | Path, processes: int = 2) -> Iterator[subprocess.Popen]:
    """torchrun running some processes in its own session; killed at the end."""
    process = subprocess.Popen(
        [*TORCHRUN, str(processes), *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Exit code and printed output. Fails if the process does not end, because something hangs."""
    text, _ = process.communicate(timeout=300)
    return process.returncode, text


def training(out: Path, **changes) -> list[str]:
    words = f"-m rescale train {NET} --data digits --device cpu --threads 1 --out {out}".split()
    return [*words, *(word for key, value in (CUT | changes).items() for word in ("--set", f"{key}={value}"))]


def ranks(process: subprocess.Popen) -> dict[int, int]:
    """Process ids by rank."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    pids = {}
    for child in children:
        text = Path(f"/proc/{child}/environ").read_bytes().decode()
        if rank := re.search(r"(?:^|\0)RANK=(\d+)", text):
            pids[int(rank[1])] = int(child)
    return pids


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def stop_at(rows: int, process: subprocess.Popen, out: Path, whom: Callable[[], int], number: int) -> None:
    """Send a signal once the run has written some rows of metrics."""
    wait_for(lambda: len(Run(out).metrics()) >= rows, process)
    os.kill(whom(), number)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Two classes, 24 + 24 training and 6 + 6 validation images; three are damaged."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("val", 6)):
        for name in ("a", "b"):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                picture = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
                picture.save(folder / part / name / f"{i}.png")
    for bad in ("train/a/3.png", "train/b/7.png", "val/a/1.png"):
        (folder / bad).write_bytes(b"<html>not found</html>")
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory, images) -> Path:
    """The folder that two processes wrote, in one launch for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "together"
    with (base / "together.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            folder.mkdir()
            with launched(SCRIPT, folder, images) as process:
                code, text = ended(process)
            (folder / "log.txt").write_text(text)
            (folder / "code.txt").write_text(str(code))
    assert (folder / "code.txt").read_text() == "0", (folder / "log.txt").read_text()[-3000:]
    return folder


def close(a: Sequence[dict], b: Sequence[dict], rel: float) -> bool:
    """Are all figures of two runs' rows close, and counts equal?"""
    assert [row["kind"] for row in a] == [row["kind"] for row in b]
    keys = ("loss", "top1", "grad_norm", "lr")
    pairs = [(x[k], y[k]) for x, y in zip(a, b, strict=True) if x["kind"] == "train" for k in keys]
    pairs += [
        (x["raw"][k], y["raw"][k]) for x, y in zip(a, b, strict=True) if x["kind"] == "eval" for k in x["raw"]
    ]
    return all(x == pytest.approx(y, rel=rel) for x, y in pairs)


@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_follow_one(together, tmp_path, parts: int) -> None:
    """Losses, gradient norms, evaluations and weights, step by step, with batch norm frozen."""
    with frozen():
        one = begin(tmp_path / "one", accumulate=parts)
    two = Run.open(together / f"frozen-{parts}")
    assert len(one.metrics()) == 12 and one.facts["identity"] == two.facts["identity"]
    assert close(one.metrics(), two.metrics(), rel=1e-4)
    assert [row["raw"]["images"] for row in two.metrics() if row["kind"] == "eval"] == [360, 360]
    left, right = load_file(one.path / "model.safetensors"), load_file(two.path / "model.safetensors")
    assert all(torch.allclose(left[name], right[name], rtol=1e-3, atol=1e-5) for name in left)
    if parts == 1:  # the check can fail
        assert not close(one.metrics(), Run.open(together / "wrong").metrics(), rel=1e-4)


def test_synchronised_batch_norm_follows_one_process(together, tmp_path) -> None:
    with drawn():
        one = begin(tmp_path / "one")
    two = Run.open(together / "synced")
    assert two.facts["settings"]["sync_bn"] is True
    assert close(one.metrics(), two.metrics(), rel=1e-3)
    left, right = load_file(one.path / "model.safetensors"), load_file(two.path / "model.safetensors")
    moments = [name for name in left if name.endswith(("running_mean", "running_var"))]
    assert moments and all(torch.allclose(left[n], right[n], rtol=1e-3, atol=1e-5) for n in moments)
    assert not close(one.metrics(), Run.open(together / "own").metrics(), rel=1e-3)


def test_a_run_of_two_processes_is_like_any_other(together) -> None:
    run = Run.open(together / "own")
    assert run.facts["processes"] == 2 and run.result["val_images"] == 360
    assert [row["step"] for row in run.metrics() if row["kind"] == "train"] == list(range(1, 11))
    assert len(list((run.path / "tensorboard").iterdir())) == 1
    assert not any("module" in name for name in load_file(run.path / "model.safetensors"))
    assert ModelFolder.open(run.path).load()
    assert resume(run.path, quiet=True).result == run.result


def test_damaged_images_are_counted_over_processes(together, images, tmp_path) -> None:
    skipping = Settings(threads=1, on_bad_image="skip")
    one = begin(tmp_path / "one", str(images), skipping, batch=16, epochs=2)
    two = Run.open(together / "skip")
    assert two.result["bad_images"] == 3 and two.result["val_images"] == one.result["val_images"] == 11


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("raise", r"JobError: .*\d\.png: not an image.*--on-bad-image skip"),
        ("batch", "UserError: batch 255 cannot be shared equally by 2 processes; use --set batch=254"),
        ("taken", "UserError: .*holds a run"),
        ("nan", "JobError: step 3: the loss is nan; stopped before the update"),
        ("log", "JobError: the disk is full"),
    ],
)
def test_an_error_of_one_process_is_raised_by_all(together, name: str, line: str) -> None:
    texts = [(together / f"{name}.{rank}.txt").read_text() for rank in (0, 1)]
    assert texts[0] == texts[1] and re.match(line, texts[0]), texts


def test_custom_norms_are_not_synchronised() -> None:
    class Own(torch.nn.BatchNorm2d):
        pass

    with pytest.raises(UserError, match="--sync-bn: cannot synchronise this model's Own; leave it out"):
        synchronise(torch.nn.Sequential(torch.nn.BatchNorm2d(3), Own(3)))


# lines 1, 7: one of the processes receives the signal; both stop at the same step, and resume bit for bit
@pytest.mark.slow
def test_a_run_stopped_by_a_signal_to_one_process_ends_the_same(together, tmp_path) -> None:
    out = tmp_path / "cut"
    with launched(*training(out)) as process:
        stop_at(5, process, out, lambda: ranks(process)[1], signal.SIGTERM)
        code, text = ended(process)
    assert code == 1 and text.count(f"stopped: SIGTERM: stopped and saved at step {latest(out)}") == 1, text
    assert 0 < latest(out) < 88
    with launched("-m", "rescale", "train", "--resume", out) as process:
        code, text = ended(process)
    assert code == 0 and text.count(": top-1 ") == 1 and text.count("resuming at step") == 1, text
    assert_same_end(Run.open(together / "cut-whole"), Run.open(out))


def test_a_users_mistake_is_one_line(tmp_path) -> None:
    with launched(*training(tmp_path / "run", batch=65, accumulate=1)) as process:
        code, text = ended(process)
    assert code == 1 and text.count("error: batch 65 cannot be shared equally by 2 processes") == 1, text
    assert not (tmp_path / "run").exists()


def alive(pids: Sequence[int]) -> list[int]:
    """The processes that still run; zombies do not."""
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    return [pid for pid, path in states.items() if path.exists() and path.read_text().split()[2] != "Z"]


# signals other than to one process: to torchrun, to all at once; kills of either
@pytest.mark.slow
def test_a_signal_to_torchrun_and_to_all_of_them(together, tmp_path) -> None:
    out = tmp_path / "cut"
    command = training(out)
    for everywhere in (False, True):
        with launched(*command) as process:
            already = len(Run(out).metrics())
            wait_for(lambda seen=already: len(Run(out).metrics()) >= seen + 5, process)
            for pid in (*ranks(process).values(), process.pid) if everywhere else (process.pid,):
                os.kill(pid, signal.SIGTERM)
            code, text = ended(process)
        assert code == 1 and text.count("stopped: SIGTERM: stopped and saved at step") == 1, text
        command = ["-m", "rescale", "train", "--resume", str(out)]
    with launched(*command) as process:
        code, text = ended(process)
    assert code == 0, text
    assert_same_end(Run.open(together / "cut-whole"), Run.open(out))


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["first", "second", "torchrun"])
def test_a_kill_ends_all(together, tmp_path, whom: str) -> None:
    out = tmp_path / "cut"
    with launched(*training(out), "--save-minutes", "0") as process:
        wait_for(lambda: latest(out) >= 9, process)
        mine = ranks(process)
        os.kill({"first": mine[0], "second": mine[1], "torchrun": process.pid}[whom], signal.SIGKILL)
        code, text = ended(process)
        deadline = time.monotonic() + 60
        while alive(list(mine.values())) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert code != 0 and not alive(list(mine.values()))
    if whom == "second":
        assert text.count("stopped: another process of this run has ended") == 1, text
    if whom == "torchrun":
        assert text.count("stopped: torchrun has ended") == 1, text
    written = latest(out)
    time.sleep(2)
    assert latest(out) == written
    with launched("-m", "rescale", "train", "--resume", out) as process:
        code, text = ended(process)
    assert code == 0, text
    assert_same_end(Run.open(together / "cut-whole"), Run.open(out))


@pytest.mark.slow
def test_three_processes_resume_exactly(tmp_path) -> None:
    """With more than two processes the order of a sum could change, and 3 does not divide the images."""
    changes = {"batch": 66, "epochs": 4}
    with launched(*training(tmp_path / "whole", **changes), processes=3) as process:
        assert ended(process)[0] == 0
    with launched(*training(tmp_path / "cut", **changes), processes=3) as process:
        stop_at(8, process, tmp_path / "cut", lambda: ranks(process)[2], signal.SIGTERM)
        assert ended(process)[0] == 1
    assert 0 < latest(tmp_path / "cut") < 84
    with launched("-m", "rescale", "train", "--resume", tmp_path / "cut", processes=3) as process:
        assert ended(process)[0] == 0
    assert Run.open(tmp_path / "cut").result["val_images"] == 360
    assert_same_end(Run.open(tmp_path / "whole"), Run.open(tmp_path / "cut"))


# line 19: another number of processes continues with the same images, and ends with similar results
@pytest.mark.slow
def test_two_processes_resumed_as_one(tmp_path) -> None:
    changes = {"dropout": 0, "mixup": 0, "epochs": 4}
    words = training(tmp_path / "run", **changes, accumulate=1)
    with launched(*words) as process:
        stop_at(5, process, tmp_path / "run", lambda: process.pid, signal.SIGTERM)
        assert ended(process)[0] == 1
    resumed = resume(tmp_path / "run", quiet=True)
    one = begin(tmp_path / "one", settings=Settings(threads=1), batch=64, epochs=4)
    assert resumed.result["figures"]["loss"] == pytest.approx(one.result["figures"]["loss"], rel=0.05)
    assert resumed.result["steps"] == one.result["steps"] == 88


@pytest.mark.slow
def test_two_machines(together, tmp_path) -> None:
    """Two torchruns on this machine, one process each, connected by torchrun's rendezvous."""
    rendezvous = (
        "--nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint localhost:29711 --rdzv-id t"
    )
    words = [*TORCHRUN[:3], *rendezvous.split(), *training(tmp_path / "run")]
    nodes = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)
    ]
    try:
        results = [ended(node) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [code for code, _ in results] == [0, 0], results
    assert sum(text.count(": top-1 ") for _, text in results) == 1
    assert_same_end(Run.open(together / "cut-whole"), Run.open(tmp_path / "run"))


@pytest.mark.slow
def test_only_training_runs_under_torchrun(tmp_path) -> None:
    with launched("-m", "rescale", "eval", tmp_path) as process:
        code, text = ended(process)
    assert code == 1 and text.count("error: torchrun is for rescale train; run rescale eval without it") == 1
