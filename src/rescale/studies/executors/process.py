"""A training as a process of this machine: its command, its environment, and the signals that it gets."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rescale.studies.executors.executor import Job

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)  # USR2: Slurm, before a time limit
POLL = 0.1  # seconds


def start(job: Job, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """Start the process of a training, which ends with this process; its output is appended to the log.

    environment: variables on top of this process's own.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    task = json.dumps({**job.task, "parent": os.getpid()})
    with job.log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "rescale.studies.worker", task],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=job.folder,
            env={**os.environ, "OMP_NUM_THREADS": str(job.threads), **(environment or {})},
            start_new_session=True,  # Ctrl-C reaches only this process, which then stops the workers
        )


def run_to_end(job: Job) -> int:
    """Run a training under Ray or Slurm, in a process that they have started; its exit code.

    A signal to stop is passed on, so that the training saves.
    """
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # inherited by the worker, which Slurm signals too
    process = start(job)
    signal.signal(signal.SIGUSR2, before)
    with _passed_on(process):
        while (code := process.poll()) is None:
            time.sleep(POLL)  # Ray's interruption is no signal, so it would not end `process.wait`
    return code


@contextmanager
def _passed_on(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Pass signals to stop on to the process, as SIGTERM, instead of what they do here."""
    before = {number: signal.signal(number, lambda *_: process.terminate()) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
