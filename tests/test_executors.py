"""Where trainings run: this machine, a real Ray cluster, a real Slurm; killed workers and drivers."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from fake_study import plan
from rescale.bench import TimingProtocol
from rescale.cli.executors import executor_of
from rescale.errors import JobError, UserError
from rescale.files import locked
from rescale.studies import Plan, Settings, StudyFolder, pareto_plan, run_study, trainings
from rescale.studies.executors import local, slurm
from rescale.studies.executors.executor import Division, Ending, Job
from rescale.studies.executors.local import LocalExecutor, default_jobs, gpus_to_share, least_used
from rescale.studies.executors.ray_cluster import Node, check_answers, divide, places
from rescale.studies.executors.slurm import SlurmExecutor, State, is_hopeless
from rescale.studies.trainings import newest_step
from rescale.training import Run
from rescale.training.stop import BUSY
from test_studies import FEW, Fake, FakeTiming, Trainings
from waiting import is_alive, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="workers end with their starter on Linux only")


# -- what is started again ---------------------------------------------------------------------------------


def run_fakes(path: Path, made: Plan, fakes: Trainings) -> StudyFolder:
    executor, timer = Fake(path, fakes), FakeTiming()
    return run_study(path, made, Settings(jobs=2), progress=False, executor=executor, time_label=timer)


def test_a_training_is_resumed_as_long_as_it_leaves_new_checkpoints(tmp_path: Path) -> None:
    made = plan(FEW, seeds=1)
    victim = made.items[1].name
    fakes = Trainings({victim: [-9, None, -9, None, -9]}, {victim: [10, 20, 30, 40, 50]})
    study = run_fakes(tmp_path / "s", made, fakes)
    assert fakes.started.count(victim) == 6 and study.failures() == []


@pytest.mark.parametrize(
    ("code", "says"), [(-9, "killed by signal 9 2 times in a row"), (None, "vanished 2 times in a row")]
)
def test_a_training_that_does_not_advance_fails(tmp_path: Path, code: int | None, says: str) -> None:
    made = plan(FEW, seeds=1)
    victim = made.items[1].name
    fakes = Trainings({victim: [code] * 9}, {victim: [10, 20, 20, 20]})
    study = run_fakes(tmp_path / "s", made, fakes)
    (failure,) = study.failures()
    assert failure.attempts == fakes.started.count(victim) == 4 and says in failure.reason
    assert len(study.results()) == 3


def test_a_run_that_another_process_writes_to_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "WAIT", 0.05)
    made = plan(FEW, seeds=1)
    victim = made.items[0].name
    fakes = Trainings({victim: [BUSY] * 4})
    study = run_fakes(tmp_path / "s", made, fakes)
    assert fakes.started.count(victim) == 5 and study.failures() == []


def test_a_worker_keeps_out_of_a_folder_that_another_process_writes_to(tmp_path: Path) -> None:
    """Also while the other one is still creating the run."""
    made = pareto_plan(["resnetrs1-1x0.125@32"], ["resnet-rs"], "digits", changes=["epochs=1", "batch=64"])
    study = StudyFolder(tmp_path)
    study.keep_plan(made)
    folder = study.run(made.items[0])
    folder.mkdir(parents=True)
    (folder / "network.yaml").write_text("being written")
    job = trainings.job_of(study, made.items[0], Settings(), Division(1, 1, "cpu"))
    with locked(folder):
        (worker,) = LocalExecutor().start([job])
        assert worker.wait() == Ending(BUSY)
    assert (folder / "network.yaml").read_text() == "being written"
    assert "another process is writing here" in job.log.read_text()


# -- this machine ------------------------------------------------------------------------------------------


def test_each_training_has_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    seen: list[str] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus_to_share("cuda") == ["0", "1", "2"]
    assert gpus_to_share("cpu") == gpus_to_share("cuda:1") == []
    assert (default_jobs("cuda", 9), default_jobs("cuda", 2), default_jobs("cuda:1", 9)) == (3, 2, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, 5,6")
    assert gpus_to_share("cuda") == ["GPU-a", "5", "6"]

    class Process:
        code: int | None = None

        def poll(self) -> int | None:
            return self.code

    processes = [Process() for _ in range(5)]

    def start(job: Job, environment: dict[str, str]) -> Process:
        seen.append(environment["CUDA_VISIBLE_DEVICES"])
        return processes[len(seen) - 1]

    monkeypatch.setattr(local, "start", start)
    job = Job("a", {}, tmp_path / "log", tmp_path, 1)
    with LocalExecutor() as executor:
        assert executor.divide(Settings(device="cuda"), 9).at_a_time == 3
        executor.start([job] * 3)
        processes[1].code = 0
        executor.start([job, job])
    assert seen == ["GPU-a", "5", "6", "5", "GPU-a"]
    assert least_used([], []) == ""


# -- options -----------------------------------------------------------------------------------------------


def options(**given: Any) -> Any:
    values = {"on": "local", "address": "", "partition": "", "gpus": None, "cpus": None, "time_limit": None}
    return executor_of(**{"out": Path("a"), **values, "sbatch": None, "dry": False, **given})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"on": "kubernetes"}, "--on kubernetes: use local, ray or slurm"),
        ({"gpus": 1.0}, "--gpus belongs to --on ray or --on slurm; this is --on local"),
        ({"on": "ray", "time_limit": 2.0}, "--time-limit belongs to --on slurm; this is --on ray"),
        ({"on": "slurm", "address": "a:1"}, "--address belongs to --on ray"),
        ({"on": "ray", "dry": True}, "leave out --on ray"),
        ({"on": "ray", "address": "ray://a:10001"}, "Ray's client is not supported"),
        ({"on": "slurm", "gpus": 0.5}, "--gpus 0.5: Slurm gives whole GPUs"),
        ({"on": "slurm", "sbatch": ["account"]}, "--sbatch account: expected KEY=VALUE"),
        ({"on": "slurm", "sbatch": ["time=5"]}, "--sbatch time=5: use --time-limit"),
    ],
)
def test_wrong_options_are_refused_in_a_line(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        options(**given)
    assert says in str(caught.value) and len(caught.value.lines) == 1


def test_this_machine_needs_no_executor() -> None:
    assert options() is None and options(dry=True) is None


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch is here"):
        options(on="slurm")
    for name, package in (("ray_cluster", "ray"), ("slurm", "slurm")):
        monkeypatch.setattr(f"rescale.studies.executors.{name}.find_spec", lambda _: None)
        with pytest.raises(UserError, match=rf"pip install 'rescale-vision\[{package}\]'"):
            options(on=package)


# -- Ray ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "gpus", "cpus", "jobs", "missing", "expected"),
    [
        ([Node(2, 0)], 0, None, None, 9, Division(2, 1, "cpu")),
        ([Node(16, 0), Node(8, 0)], 0, None, 4, 9, Division(4, 5, "cpu")),  # 3 of 5 cores and 1
        ([Node(16, 4), Node(16, 0)], 1, None, None, 9, Division(4, 4, "cuda")),
        ([Node(16, 4)], 0.5, None, None, 9, Division(8, 2, "cuda")),
        ([Node(16, 4)], 1, 8, None, 9, Division(2, 8, "cuda")),
        ([Node(16, 4)], 1, None, None, 1, Division(1, 16, "cuda")),
    ],
)
def test_a_cluster_is_divided(
    nodes: list[Node], gpus: float, cpus: int | None, jobs: int | None, missing: int, expected: Division
) -> None:
    division = divide(nodes, gpus, cpus, jobs, missing)
    assert division == expected
    assert places(nodes, gpus, division.threads) >= division.at_a_time


def test_what_no_node_has_is_refused() -> None:
    with pytest.raises(UserError, match="has 1 CPU core and 1 GPU; the largest have 8 CPU cores and 0 GPUs"):
        divide([Node(8, 0)], 1, None, None, 3)
    with pytest.raises(UserError, match="has 9 CPU cores and 0 GPUs"):
        divide([Node(8, 0), Node(8, 0)], 0, 9, None, 3)
    with pytest.raises(UserError):
        divide([], 0, None, None, 3)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "head", "head:x", "127.0.0.1:99999"])
def test_an_address_without_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=f"--address {address}: "):
        check_answers(address)


# -- Slurm, without Slurm ----------------------------------------------------------------------------------


class FakeSlurm:
    """Answers in place of Slurm's programs. jobs: the name of each job that has not ended, by its id."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.submitted: list[list[str]] = []
        monkeypatch.setattr(slurm, "command", self.command)
        monkeypatch.setattr(slurm.shutil, "which", lambda program: f"/usr/bin/{program}")
        monkeypatch.setattr(slurm, "LATE", 0.0)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        if words[0] == "scancel":
            self.cancelled += words[1:]
        listed = "".join(f"{job_id}|{name}|None\n" for job_id, name in self.jobs.items())
        return subprocess.CompletedProcess(words, 0, listed if words[0] == "squeue" else "", "")

    def submit(self, executor: SlurmExecutor, jobs: list[Job]) -> dict[str, str]:
        self.submitted.append([job.name for job in jobs])
        first = 10 * len(self.submitted)
        ids = {job.name: f"{first}_{number}" for number, job in enumerate(jobs)}
        executor.submitted |= ids
        executor._store()
        self.jobs |= dict.fromkeys(ids.values(), "rescale-1")
        return ids


def test_living_jobs_of_an_earlier_driver_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeSlurm(monkeypatch)
    monkeypatch.setattr(SlurmExecutor, "_submit", lambda executor, jobs: fake.submit(executor, jobs))
    jobs = [Job(name, {}, tmp_path / name, tmp_path, 1) for name in ("a", "b", "c")]
    killed = SlurmExecutor(tmp_path, look=0.0).__enter__()
    killed.start(jobs)  # and it never leaves
    del fake.jobs["10_1"]  # b vanished while there was no driver
    with SlurmExecutor(tmp_path, look=0.0) as executor:
        workers = executor.start(jobs)
        assert [worker.job_id for worker in workers] == ["10_0", "20_0", "10_2"]
        assert fake.submitted == [["a", "b", "c"], ["b"]]
        assert [worker.ended() for worker in workers] == [None] * 3
        del fake.jobs["10_0"]
        ending = workers[0].ended()
        assert ending is not None and ending.from_outside
        stored = json.loads((tmp_path / "jobs.json").read_text())
        assert stored == {"jobs": {"b": "20_0", "c": "10_2"}, "submitting": ""}
    assert fake.cancelled == ["10_2", "20_0"]  # nothing outlives a study that ends otherwise


def test_jobs_whose_ids_a_killed_driver_could_not_store_are_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeSlurm(monkeypatch)
    (tmp_path / "jobs.json").write_text('{"jobs": {}, "submitting": "rescale-7"}')
    fake.jobs = {"5_0": "rescale-7", "6": "mine", "5_1": "rescale-7"}
    with SlurmExecutor(tmp_path):
        assert fake.cancelled == ["5_0", "5_1"]


def test_a_job_that_can_never_start_ends_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSlurm(monkeypatch)
    executor = SlurmExecutor(tmp_path, look=1e9)
    executor.looked_at = executor.answered_at = time.monotonic()
    executor.states = {"7": State("rescale-1", "PartitionTimeLimit"), "8": State("rescale-1", "Priority")}
    assert slurm.SlurmWorker("b", "8", executor).ended() is None
    hopeless = slurm.SlurmWorker("a", "7", executor)
    with pytest.raises(JobError, match=r"never start job 7 \(PartitionTimeLimit\)"):
        hopeless.ended()
    hopeless.stop()
    assert hopeless.ended() is None  # until squeue no longer lists it, so that the others are waited for
    assert is_hopeless("QOSMaxCpuPerJobLimit") and not is_hopeless("Resources")


# -- real ones ---------------------------------------------------------------------------------------------

DRIVER = """
import sys
from pathlib import Path
from rescale.errors import JobError
from rescale.studies import Settings, StudyFolder, run_study
from rescale.studies.executors.ray_cluster import RayExecutor
from rescale.studies.executors.slurm import SlurmExecutor
path = Path(sys.argv[1])
executor = RayExecutor(sys.argv[3]) if sys.argv[2] == "ray" else SlurmExecutor(path / "slurm", look=0.5)
try:
    run_study(path, StudyFolder(path).plan, Settings(jobs=2, device="cpu"), executor=executor)
except JobError as error:
    sys.exit(f"stopped: {error}")
"""


def two_runs(epochs: int) -> Plan:
    return pareto_plan(
        ["resnetrs26x0.125@32"],
        ["resnet-rs"],
        "digits",
        seeds=2,
        changes=[f"epochs={epochs}", "batch=128", "flip=0"],
        timing=TimingProtocol(batch=8, threads=1, repeats=2),
    )


def epochs_of(run: Run, kind: str = "eval") -> list[int]:
    return [row["epoch"] for row in run.metrics() if row["kind"] == kind] if run.path.is_dir() else []


def holder(run: Run, not_this: int = 0) -> int:
    """The process that holds the run's lock; 0 if there is none."""
    lock = run.path / ".lock"
    pid = int(lock.read_text() or 0) if lock.exists() else 0
    return pid if pid != not_this and is_alive(pid) else 0


@contextmanager
def driver(path: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs the study."""
    command = [sys.executable, "-c", DRIVER, str(path), *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def check_complete(study: StudyFolder, epochs: int) -> None:
    """Each epoch of each run was trained once, as its metrics and its log show."""
    assert study.failures() == [] and len(study.results()) == 2
    for item in study.plan.items:
        run = Run(study.run(item))
        assert epochs_of(run) == list(range(1, epochs + 1))
        steps = [row["step"] for row in run.metrics() if row["kind"] == "train"]
        assert steps == sorted(set(steps))
        assert study.log(item).read_text().count(f"epoch {epochs}/{epochs} ") == 1


def check_equal(study: StudyFolder, undisturbed: StudyFolder) -> None:
    for item in study.plan.items:
        left, right = (load_file(s.run(item) / "model.safetensors") for s in (study, undisturbed))
        assert left.keys() == right.keys() and all(bool((left[key] == right[key]).all()) for key in left)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a real Ray cluster of this machine with two cores, which asks for a token."""
    ray = shutil.which("ray", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if ray is None:
        pytest.skip("Ray is not installed")
    port = 21000 + os.getpid() % 9000
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    start = [ray, "start", "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--block"]
    head = subprocess.Popen(
        [*start, "--object-store-memory=100000000", "--node-ip-address=127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers(f"127.0.0.1:{port}"), 60)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(timeout=60)


def answers(address: str) -> bool:
    try:
        check_answers(address)
    except UserError:
        return False
    return True


EPOCHS = 12  # long enough to be disturbed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """The same study, trained on this machine in one go."""
    path = tmp_path_factory.mktemp("undisturbed")
    return run_study(path, two_runs(EPOCHS), Settings(jobs=2, device="cpu"), progress=False)


@linux
@pytest.mark.slow
def test_on_ray_killed_workers_are_resumed_and_a_killed_driver_loses_nothing(
    cluster: str, undisturbed: StudyFolder, tmp_path: Path
) -> None:
    path = tmp_path / "study"
    StudyFolder(path).keep_plan(two_runs(EPOCHS))
    study = StudyFolder(path)
    run, other = (Run(study.run(item)) for item in study.plan.items)
    with driver(path, "ray", cluster) as first:
        until(lambda: epochs_of(run) and epochs_of(other) and holder(run))  # two at once
        stopped = holder(run)
        os.kill(stopped, signal.SIGTERM)  # it saves
        worker = until(lambda: holder(run, not_this=stopped))
        saved = newest_step(run.path)
        os.kill(parent_of(worker), signal.SIGKILL)  # Ray's process, with which the worker ends
        until(lambda: not is_alive(worker), 10)
        resumed = until(lambda: holder(run, not_this=worker))
        until(lambda: run.metrics()[-1]["step"] > saved)
        assert f"resuming at step {saved}" in study.log(study.plan.items[0]).read_text()
        first.kill()
        until(lambda: not is_alive(resumed) and not holder(other), 60)
        errors = first.communicate()[1]
    assert "its process was stopped; it is resumed" in errors
    assert "its process vanished; it is resumed" in errors
    assert newest_step(run.path) >= saved > 0 and run.result is None

    with driver(path, "ray", cluster) as second:
        until(lambda: holder(run))
        second.send_signal(signal.SIGINT)
        assert second.wait(timeout=120) == 1
        assert holder(run) == holder(other) == 0
    with driver(path, "ray", cluster) as third:
        assert third.wait(timeout=500) == 0
    check_complete(study, EPOCHS)
    check_equal(study, undisturbed)
    assert list(study.timings()) == ["resnetrs26x0.125@32"]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def stored_jobs(study: Path) -> dict[str, str]:
    """The ids of Slurm's jobs, as the driver has stored them."""
    return json.loads((study / "slurm" / "jobs.json").read_text())["jobs"]


@pytest.fixture
def slurm_study(tmp_path: Path) -> Iterator[Path]:
    """The folder of a study whose jobs are cancelled after a failure of the test."""
    yield tmp_path / "study"
    if left := stored_jobs(tmp_path / "study"):
        subprocess.run(["scancel", *left.values()], check=False)


def squeue() -> list[str]:
    listed = subprocess.run(["squeue", "--me", "-h", "-r", "-o", "%i"], capture_output=True, text=True)
    return listed.stdout.split()


def slurm_answers() -> bool:
    return (
        shutil.which("sbatch") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0
    )


@linux
@pytest.mark.slow
@pytest.mark.skipif(not slurm_answers(), reason="no Slurm here; scripts/local_slurm.sh starts one")
def test_under_slurm_lost_jobs_are_resubmitted_and_a_killed_drivers_jobs_found_again(
    undisturbed: StudyFolder, slurm_study: Path
) -> None:
    path = slurm_study
    StudyFolder(path).keep_plan(two_runs(EPOCHS))
    study = StudyFolder(path)
    run, other = (Run(study.run(item)) for item in study.plan.items)

    def jobs() -> dict[str, str]:
        return stored_jobs(path)

    names = [item.name for item in study.plan.items]
    with driver(path, "slurm") as first:
        until(lambda: epochs_of(run) and epochs_of(other))
        before = jobs()
        subprocess.run(["scancel", before[names[0]]], check=True)  # as preemption: SIGTERM, it saves
        kill = ["scancel", "--signal=KILL", "--full"]
        subprocess.run([*kill, before[names[1]]], check=True)  # as the end of a node: it leaves no result
        until(lambda: sorted(jobs()) == names and not set(jobs().values()) & set(before.values()))
        until(lambda: holder(run) and holder(other))
        assert newest_step(run.path) > 0
        first.kill()
        first.wait()
    left = jobs()
    assert sorted(left) == names and set(left.values()) <= set(squeue())
    workers = holder(run), holder(other)
    with driver(path, "slurm") as second:
        until(lambda: (path / ".lock").read_text().strip() == str(second.pid))
        time.sleep(3)
        assert (holder(run), holder(other)) == workers and jobs() == left  # found again, not submitted twice
        second.send_signal(signal.SIGINT)
        assert second.wait(timeout=120) == 1
        assert holder(run) == holder(other) == 0
    until(lambda: not set(left.values()) & set(squeue()), 60)
    with driver(path, "slurm") as third:
        assert third.wait(timeout=500) == 0
    check_complete(study, EPOCHS)
    check_equal(study, undisturbed)
    assert not jobs()


@pytest.mark.slow
@pytest.mark.skipif(not slurm_answers(), reason="no Slurm here; scripts/local_slurm.sh starts one")
def test_slurm_refuses_what_it_can_never_run(tmp_path: Path) -> None:
    for executor in (
        SlurmExecutor(tmp_path, partition="no-such"),
        SlurmExecutor(tmp_path, gpus=1),
        SlurmExecutor(tmp_path, cpus=10_000),
    ):
        with pytest.raises(UserError, match="--on slurm: sbatch refuses"), executor:
            executor.divide(Settings(), 3)
