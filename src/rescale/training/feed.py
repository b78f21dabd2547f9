"""The batches of one process, taken in step with the other processes; damaged images are counted."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from rescale.data import Batch, Loading, Source
from rescale.data.loading import bad_image_limit, check_limit
from rescale.errors import JobError
from rescale.processes import Processes, Status
from rescale.tasks import Task
from rescale.training.stop import StopRequest


class Stopped(JobError):
    """A signal told the run to stop."""


@dataclass
class Feed:
    """Streams of batches for one process of a run.

    Args:
        task: makes the streams.
        resolution: input size of the model, pixels per side.
        loading: batch (of one micro-batch over all processes), seed, workers and device of every stream.
        micro_batches: micro-batches per optimizer step.
        processes: the processes that share each batch.
        stop: records a signal to stop.
        note: called with one line for each damaged image, the first time it is seen.
        bad_images: lines of the damaged images seen so far; extended here.
    """

    task: Task
    resolution: int
    loading: Loading
    micro_batches: int
    processes: Processes
    stop: StopRequest
    note: Callable[[str], None]
    bad_images: list[str] = field(default_factory=list)
    _bad_in_pass: set[str] = field(default_factory=set)
    _limit: int = 0

    def epoch(self, source: Source, epoch: int, skip: int = 0) -> Iterator[list[Batch]]:
        """This process's share of an epoch's optimizer steps, from number `skip` on."""
        loading = replace(self.loading, epoch=epoch, skip=skip * self.micro_batches)
        stream = self._open(source, loading)
        for _ in range(skip, len(source) // (self.loading.batch * self.micro_batches)):
            yield self._take(stream, self.micro_batches)

    def in_order(self, source: Source) -> Iterator[Batch]:
        """This process's share of all samples in order; each process takes the same number of batches."""
        stream = self._open(source, replace(self.loading, training=False))
        for _ in range(math.ceil(len(source) / self.loading.batch)):
            yield from self._take(stream, 1)

    def _open(self, source: Source, loading: Loading) -> Iterator[Batch]:
        self._bad_in_pass, self._limit = set(), bad_image_limit(len(source))
        share = (self.processes.rank, self.processes.count)
        return self.task.stream(source, self.resolution, replace(loading, share=share))

    def _take(self, stream: Iterator[Batch], count: int) -> list[Batch]:
        """The next `count` batches, once all processes have theirs; fewer at the stream's end.

        Batches without images are left out.
        All processes raise the same error if one of them cannot continue (JobError) or was told to stop
        (Stopped).
        """
        error, taken = self.processes.orphaned, []
        try:
            taken = list(islice(stream, count))
        except JobError as raised:
            error = raised
        mine = Status(error, self.stop.signal_name, tuple(line for batch in taken for line in batch.bad))
        statuses = self.processes.synchronize(mine)
        for status in statuses:
            self._note_bad(status.bad)
        for status in statuses:
            if status.signal_name:
                raise Stopped(status.signal_name)
        return [batch for batch in taken if batch.count]

    def _note_bad(self, lines: tuple[str, ...]) -> None:
        """Record and report skipped damaged images. Raises JobError if there are too many."""
        self._bad_in_pass.update(lines)
        for line in lines:
            if line not in self.bad_images:
                self.bad_images.append(line)
                self.note(line)
        check_limit(self._bad_in_pass, self._limit)
