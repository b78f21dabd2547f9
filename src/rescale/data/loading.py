"""From a source to batches. Order and augmentation depend on seed, epoch and index alone."""

import atexit
import gc
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from rescale.data.draw import Draw, order
from rescale.data.prefetch import ahead
from rescale.data.source import BadImage, Batch, Sample, Source
from rescale.errors import JobError

# From a sample and where its randomness comes from to the tensors of one place in a batch.
Prepare = Callable[[Sample, Draw], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Loading:
    """How one pass over a source is loaded.

    Args:
        batch: samples a batch, over all processes.
        seed, epoch: what the order and the augmentation are drawn from.
        skip: batches of the epoch to leave out; nothing is decoded for them.
        share: (k, n) takes part k of each batch's n near-equal parts, for one of n processes.
        workers: processes that load; 0 loads in this one.
        training: shuffle, and drop the last batch where it is not full; else all samples in their order.
        on_bad_image: `raise` or `skip`.
        device: where the batches will be used; on a GPU they are copied there ahead of their use.
    """

    batch: int
    seed: int = 0
    epoch: int = 0
    skip: int = 0
    share: tuple[int, int] = (0, 1)
    workers: int = 0
    training: bool = True
    on_bad_image: str = "raise"
    device: str = "cpu"


def batches(source: Source, prepare: Prepare, loading: Loading) -> Iterator[Batch]:
    """The batches of a pass; the same bytes for any number of workers.

    The order is a function of (seed, epoch), each sample's randomness of (seed, epoch, index). An empty share
    of a batch gives none. prepare must not keep the generators that it draws from.

    A damaged image raises JobError, which names it. With on_bad_image="skip" it is named in Batch.bad
    instead and, in training, replaced by the next good one of the source, so that a batch depends on
    nothing but its number; in evaluation it is left out. JobError when more images than `bad_image_limit`
    says are damaged in one pass, or none is good.
    """
    samples, size = len(source), loading.batch
    indices = order(samples, loading.seed, loading.epoch) if loading.training else np.arange(samples)
    stop = samples - samples % size if loading.training else samples
    chunks = [indices[i : min(i + size, stop)] for i in range(loading.skip * size, stop, size)]
    part, parts = loading.share
    chunks = [np.array_split(chunk, parts)[part] for chunk in chunks]
    limit = bad_image_limit(samples) if loading.on_bad_image == "skip" else 0
    maker = _Maker(source, prepare, loading.seed, loading.epoch, limit, replace=loading.training)
    made = _in_workers(maker, chunks, loading) if loading.workers else map(maker.__getitem__, chunks)
    stream = _checked(made, limit, whole=parts == 1)
    _STREAMS.add(stream)
    return ahead(stream, loading.device)


def bad_image_limit(images: int) -> int:
    """How many damaged images of a source are passed over before it is given up: 1 %, at least ten."""
    return max(10, images // 100)


@dataclass(frozen=True)
class _Maker(Dataset[Batch | Exception]):
    """Makes a batch of the samples with given indices. limit: damaged images to pass over; 0: none."""

    source: Source
    prepare: Prepare
    seed: int
    epoch: int
    limit: int
    replace: bool

    def __getitem__(self, indices: np.ndarray) -> Batch | Exception:
        """The batch; in a worker an error is returned: one raised there would keep the workers waiting."""
        prepared: list[Mapping[str, Tensor]] = []
        kept: list[int] = []
        bad: list[str] = []
        try:
            for asked in indices.tolist():
                for index in self._candidates(asked):
                    tensors = self._prepared(index, asked, bad)
                    if tensors is not None:
                        prepared.append(tensors)
                        kept.append(index)
                        break
        except JobError as error:
            return error
        except Exception:
            if get_worker_info() is None:
                raise
            return RuntimeError(f"in a loading process:\n{traceback.format_exc()}")
        names = prepared[0] if prepared else ()
        stacked = {name: _stacked([tensors[name] for tensors in prepared]) for name in names}
        return Batch(stacked, len(kept), torch.tensor(kept, dtype=torch.int64), tuple(bad))

    def _candidates(self, index: int) -> Iterable[int]:
        """The sample asked for, and in training those after it, which take its place."""
        if not self.replace:
            return (index,)
        return (i % len(self.source) for i in range(index, index + len(self.source)))

    def _prepared(self, index: int, asked: int, bad: list[str]) -> Mapping[str, Tensor] | None:
        """The tensors of a sample, by the draws of the one asked for; None where it is damaged, which is
        noted."""
        try:
            return self.prepare(self.source.sample(index), Draw(self.seed, self.epoch, asked))
        except BadImage as error:
            if not self.limit:
                raise JobError(f"{error}; mend or remove it, or pass --on-bad-image skip") from None
            bad.append(str(error))
            check_limit(bad, self.limit)
            return None


def _stacked(tensors: list[Tensor]) -> Tensor:
    """One tensor a sample -> [N, ...]. Images, uint8 [3, H, W], keep their channels last in memory."""
    if tensors[0].dim() == 3 and tensors[0].dtype == torch.uint8:
        return torch.stack([image.permute(1, 2, 0) for image in tensors]).permute(0, 3, 1, 2)
    return torch.stack(tensors)


def _in_workers(maker: _Maker, chunks: list[np.ndarray], loading: Loading) -> DataLoader:
    return DataLoader(
        maker,
        sampler=chunks,  # a sampler of whole batches: one `index` of the maker is one batch
        batch_size=None,
        num_workers=loading.workers,
        pin_memory=loading.device.startswith("cuda"),  # by a thread beside the loop
        worker_init_fn=_begin_worker,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # its own, so that the default one is not drawn from
    )


def _begin_worker(_: int) -> None:
    """Workers leave signals to the process that started them, which saves first, and use one thread."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # what was inherited is not to be cleaned up here: it may be a stream with workers of its own
    torch.set_num_threads(1)


def _as_it_is(made: Any) -> Any:
    """The maker has made a batch already; torch's own conversion would turn its tuples into lists."""
    return made


def _checked(made: Iterable[Batch | Exception], limit: int, whole: bool) -> Generator[Batch]:
    """Raise what was returned as an error; count the damaged images; leave out batches without images.

    whole: these are all batches there are, not a share, so that one good image at least is among them.
    """
    bad: set[str] = set()
    good = 0
    stream = iter(made)  # begins the workers
    try:
        for batch in stream:
            if isinstance(batch, Exception):
                raise batch
            if batch.bad:
                bad.update(batch.bad)
                check_limit(bad, limit)
            good += batch.count
            if batch.count:
                yield batch
        if whole and bad and not good:
            raise JobError(f"none of the images can be read; one of them: {min(bad)}")
    finally:
        del stream  # ends the workers now; a traceback could keep them waiting


_STREAMS: WeakSet[Generator[Batch]] = WeakSet()


@atexit.register
def _close_streams() -> None:
    """End the workers of streams that were left midway: Python's own way is SIGTERM, which they ignore."""
    for stream in list(_STREAMS):
        stream.close()


def check_limit(bad: Iterable[str], limit: int) -> None:
    """Give a source up, with a JobError, where more than `limit` different images are damaged."""
    damaged = set(bad)
    if len(damaged) > limit:
        raise JobError(
            f"more than {limit} damaged images, the most that are skipped; one of them: {min(damaged)}; "
            f"list them all with: rescale data verify"
        )
