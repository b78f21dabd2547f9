"""A real study, its worker and then its driver killed by SIGKILL; the next call ends it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from rescale.bench import TimingProtocol
from rescale.studies import Settings, pareto_plan, run_study
from rescale.studies.folder import StudyFolder
from rescale.training import Run
from waiting import is_alive, until

DRIVER = """
from pathlib import Path
import sys
from rescale.studies import Settings, StudyFolder, run_study
run_study(Path(sys.argv[1]), StudyFolder(Path(sys.argv[1])).plan, Settings(jobs=1, device="cpu"))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers end with their driver on Linux only")
def test_a_killed_worker_and_a_killed_driver_lose_nothing(tmp_path):
    plan = pareto_plan(
        ["resnetrs26x0.125@32"],
        ["resnet-rs"],
        "digits",
        changes=["epochs=4", "batch=128", "flip=0"],
        timing=TimingProtocol(batch=8, threads=1, repeats=2),
    )
    path = tmp_path / "study"
    StudyFolder(path).keep_plan(plan)
    run = Run(StudyFolder(path).run(plan.items[0]))

    def worker(not_this=0):
        """The process that holds the run's lock, once it has trained a little."""
        lock = run.path / ".lock"
        pid = int(lock.read_text() or 0) if lock.exists() and run.metrics() else 0
        return pid if pid != not_this and is_alive(pid) else 0

    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(path)], stderr=subprocess.PIPE, text=True)
    first = until(worker, seconds=120)
    os.kill(first, signal.SIGKILL)
    second = until(lambda: worker(not_this=first), seconds=120)
    driver.kill()
    assert "its process was killed by signal 9; it is resumed" in driver.communicate()[1]
    until(lambda: not is_alive(second), seconds=10)
    assert run.result is None

    study = run_study(path, plan, Settings(jobs=1, device="cpu"), progress=False)
    assert study.failures() == []
    assert study.results()[plan.items[0]]["epochs"] == 4
    evaluated = [row["epoch"] for row in run.metrics() if row["kind"] == "eval"]
    assert evaluated == [1, 2, 3, 4]
    steps = [row["step"] for row in run.metrics() if row["kind"] == "train"]
    assert steps == sorted(set(steps))
    assert list(study.timings()) == ["resnetrs26x0.125@32"]
    assert json.loads((run.path / "result.json").read_text())["steps"] == 4 * (1437 // 128)
