"""The real training loop on batches in memory, for benchmarks that exclude loading."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rescale.data import Batch, Data
from rescale.network import Network
from rescale.preprocess import Preprocess
from rescale.processes import ALONE, Processes
from rescale.recipes import Resolved
from rescale.tasks import task_of
from rescale.training import Run, Settings
from rescale.training.checkpoint import Restored
from rescale.training.feed import Feed
from rescale.training.job import Job, make_loop
from rescale.training.loop import TrainingLoop
from rescale.training.run import FORMAT
from rescale.training.stop import StopRequest


@dataclass
class ReadyFeed(Feed):
    """A feed that takes its batches from memory."""

    ready: list[Batch] = field(default_factory=list)

    def _open(self, *_: Any) -> Iterator[Batch]:
        return iter(self.ready)


def ready_loop(
    folder: Path,
    net: Network,
    resolved: Resolved,
    data: Data,
    settings: Settings,
    steps: int,
    processes: Processes = ALONE,
) -> TrainingLoop:
    """A loop that has just started, with epochs of `steps` steps on batches in memory."""
    task = task_of(resolved.recipe, data)
    facts = {
        "format": FORMAT,
        "seed": 0,
        "task": task.name,
        "headline": task.headline.as_json(),
        "settings": asdict(settings),
        "data": asdict(data.spec),
        "notes": [],
        "processes": processes.count,
    }
    preprocess = Preprocess(data.mean, data.std, net.resolution, labels=task.outputs)
    run = processes.from_first(lambda: Run.create(folder, net, resolved, data.manifest(), preprocess))
    job = Job(run, facts, net, resolved.recipe, data)
    loop = make_loop(job, StopRequest(), True, processes)
    batches = [batch for taken in islice(loop.feed.epoch(data.train, 0), steps) for batch in taken]
    loop.feed = ReadyFeed(**{**vars(loop.feed), "ready": batches})
    loop.stepper.steps_per_epoch = len(batches)
    loop.start(Restored(None, {}, []))
    return loop
