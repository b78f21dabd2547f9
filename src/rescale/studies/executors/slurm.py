"""Trainings as Slurm jobs, arrays of them through submitit; the driver submits again what vanishes.

The ids of submitted jobs are stored in the study's folder, because jobs outlive a driver that is killed: the
next driver finds them and waits for them instead of submitting a second copy.
"""

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rescale.errors import JobError, UserError
from rescale.files import write_json
from rescale.studies.executors.executor import Division, Ending, Job, Settings
from rescale.studies.executors.process import run_to_end

MOST_JOBS = 500  # of one array; Slurm's default limit is 1,001
HOURS = 24.0  # of a job, if no time limit is given
LOOK = 5.0  # seconds between calls of squeue
LATE = 15.0  # seconds that a job's result may need to arrive through the shared file system
STOP = 180.0  # seconds to wait for a job that was cancelled
UNREACHABLE = 900.0  # seconds without an answer from Slurm, after which the study stops
SAVE_SECONDS = 90  # before a time limit, for saving
NEVER = (  # reasons of a job that waits for ever, besides those that end in PerJob or PerJobLimit
    "BadConstraints", "InvalidAccount", "InvalidQOS", "PartitionNodeLimit", "PartitionTimeLimit",
)  # fmt: skip


class State(NamedTuple):
    """What Slurm says of a job that has not ended. reason: why it waits."""

    name: str
    reason: str


class SlurmWorker:
    """A training as a Slurm job."""

    def __init__(self, name: str, job_id: str, executor: "SlurmExecutor") -> None:
        self.name, self.job_id, self.executor = name, job_id, executor
        self.gone_since: float | None = None
        self.is_cancelled = False

    def ended(self) -> Ending | None:
        ending = self._ending()
        if ending is not None:
            self.executor.forget(self.name)
        return ending

    def _ending(self) -> Ending | None:
        if (ending := result_of(self.executor.folder, self.job_id)) is not None:
            return ending
        state = self.executor.state(self.job_id)
        if state is None:
            self.gone_since = self.gone_since or time.monotonic()
            late = 0.0 if self.is_cancelled else LATE
            is_lost = time.monotonic() - self.gone_since >= late
            return Ending(None, f"Slurm job {self.job_id} left no result") if is_lost else None
        self.gone_since = None
        if is_hopeless(state.reason) and not self.is_cancelled:
            raise JobError(f"Slurm will never start job {self.job_id} ({state.reason}); change the request")
        return None

    def stop(self) -> None:
        self.is_cancelled = True
        command("scancel", self.job_id)  # SIGTERM now, SIGKILL after Slurm's KillWait

    def wait(self) -> Ending:
        end = time.monotonic() + STOP
        while time.monotonic() < end:
            if (ending := self.ended()) is not None:
                return ending
            time.sleep(0.5)
        return Ending(None, f"Slurm job {self.job_id} did not stop")


class SlurmExecutor:
    """Trainings as Slurm jobs.

    Args:
        folder: for the jobs' files, in the study's folder, which all machines share.
        partition: empty for Slurm's default.
        gpus, cpus: of each training.
        hours: time limit of a job; a training that needs more is saved before and continues in another job.
        options: any other options of sbatch, by their long names.
        look: seconds between calls of squeue.
    """

    def __init__(
        self,
        folder: Path,
        partition: str = "",
        gpus: int = 0,
        cpus: int | None = None,
        hours: float | None = None,
        options: Mapping[str, str] | None = None,
        look: float = LOOK,
    ) -> None:
        if find_spec("submitit") is None:
            raise UserError("--on slurm: submitit is not installed: pip install 'rescale-vision[slurm]'")
        for program in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise UserError(f"--on slurm: no {program} is here; run the command on a machine with Slurm")
        self.folder, self.gpus, self.cpus, self.look = folder.absolute(), gpus, cpus, look
        self.options: dict[str, Any] = {
            "time": max(1, round(60 * (HOURS if hours is None else hours))),
            **({"partition": partition} if partition else {}),
            **({"gpus-per-node": gpus} if gpus else {}),
            **(options or {}),
        }
        self.submitted: dict[str, str] = {}  # job ids by the names of trainings
        self.states: dict[str, State] = {}
        self.looked_at = self.answered_at = float("-inf")

    def __enter__(self) -> "SlurmExecutor":
        if not self._refresh():
            raise UserError("--on slurm: squeue cannot reach Slurm's controller; `squeue` says why")
        self._take_over()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if ids := sorted(set(self.submitted.values()) & set(self.states)):  # of earlier drivers
            command("scancel", *ids)

    def divide(self, settings: Settings, missing: int) -> Division:
        cpus = self.cpus or 1 + settings.workers
        self.options["cpus-per-task"] = cpus
        words = [f"--{key}={value}" for key, value in self.options.items()]
        tried = command("sbatch", "--test-only", *words, "--wrap", "true")
        if tried.returncode:
            reason = tried.stderr.strip().split("\n")[-1] or f"exit code {tried.returncode}"
            raise UserError(f"--on slurm: sbatch refuses {' '.join(words)}: {reason}")
        return Division(min(settings.jobs or missing, missing), cpus, "cuda" if self.gpus else "cpu")

    def start(self, jobs: Sequence[Job]) -> list[SlurmWorker]:
        self._refresh(now=True)
        known = {job.name: self.submitted.get(job.name, "") for job in jobs}
        new = [job for job in jobs if self.state(known[job.name]) is None]
        for first in range(0, len(new), MOST_JOBS):
            known |= self._submit(new[first : first + MOST_JOBS])
        return [SlurmWorker(job.name, known[job.name], self) for job in jobs]

    def _submit(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Submit an array; the ids of its jobs. Its name is stored before, its ids after that."""
        import submitit

        name = f"rescale-{uuid.uuid4().hex[:12]}"
        self._store(submitting=name)
        executor = submitit.SlurmExecutor(self.folder)
        executor.update_parameters(
            job_name=name,
            time=self.options["time"],
            signal_delay_s=SAVE_SECONDS,
            array_parallelism=len(jobs),
            stderr_to_stdout=True,
            additional_parameters={**self.options, "no-requeue": True},  # the driver does that
        )
        try:
            with executor.batch():
                submitted = [executor.submit(run_to_end, job) for job in jobs]
        except submitit.core.utils.FailedJobError as error:
            raise JobError(f"sbatch failed: {_last_line(error)}") from None
        ids = {job.name: handle.job_id for job, handle in zip(jobs, submitted, strict=True)}
        self.submitted |= ids
        self._store()
        self.states |= {job_id: State(name, "") for job_id in ids.values()}  # squeue may show them later
        return ids

    def state(self, job_id: str) -> State | None:
        """What Slurm says of a job; None once it has ended. Raises JobError if Slurm does not answer."""
        self._refresh()
        if time.monotonic() - self.answered_at > UNREACHABLE:
            raise JobError(
                "Slurm's controller has not answered for a while; its jobs go on, repeat the command later"
            )
        return self.states.get(job_id)

    def forget(self, name: str) -> None:
        """Remove a job that has ended from the stored ones."""
        if self.submitted.pop(name, None):
            self._store()

    def _refresh(self, now: bool = False) -> bool:
        """Ask Slurm for the jobs that have not ended; whether it has ever answered."""
        if now or time.monotonic() - self.looked_at >= self.look:
            answer = command("squeue", "--me", "--array", "--noheader", "--format=%i|%j|%r")
            self.looked_at = time.monotonic()
            if answer.returncode == 0:
                self.answered_at = self.looked_at
                lines = (line.split("|") for line in answer.stdout.splitlines())
                self.states = {job_id: State(name, reason) for job_id, name, reason in lines}
        return self.answered_at > float("-inf")

    def _take_over(self) -> None:
        """Read which jobs an earlier driver has submitted, and cancel those whose ids it could not store."""
        try:
            stored = json.loads(self._file.read_text())
        except FileNotFoundError:
            return
        self.submitted = {name: job_id for name, job_id in stored["jobs"].items() if job_id in self.states}
        if ids := [job_id for job_id, state in self.states.items() if state.name == stored["submitting"]]:
            command("scancel", *ids)

    def _store(self, submitting: str = "") -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file, {"jobs": self.submitted, "submitting": submitting})

    @property
    def _file(self) -> Path:
        return self.folder / "jobs.json"


def is_hopeless(reason: str) -> bool:
    """Whether a job that waits for this reason can never start."""
    return reason in NEVER or reason.endswith(("PerJob", "PerJobLimit"))


def result_of(folder: Path, job_id: str) -> Ending | None:
    """How a job says that it has ended; None if it has not, or could not say."""
    from submitit.core.utils import JobPaths, pickle_load

    try:
        outcome, value = pickle_load(JobPaths(folder, job_id=job_id, task_id=0).result_pickle)
    except (FileNotFoundError, EOFError):
        return None
    return Ending(value) if outcome == "success" else Ending(1, f"Slurm job {job_id}: {_last_line(value)}")


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run one of Slurm's programs, which may fail or not answer for a minute."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", "no answer within a minute")


def _last_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
