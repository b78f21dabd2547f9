"""Load batches from a source. Order and augmentation depend only on seed, epoch and index."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rescale.data.draw import Draw, order
from rescale.data.prefetch import ahead
from rescale.data.source import BadImage, Batch, Sample, Source
from rescale.data.workers import in_workers
from rescale.errors import JobError

# Turns a sample, with its source of randomness, into the tensors of one element of a batch.
Prepare = Callable[[Sample, Draw], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Loading:
    """How one pass over a source is loaded.

    Args:
        batch: samples per batch, over all training processes; at least 1.
        seed, epoch: determine the order of the samples and their augmentation; at least 0.
        skip: number of batches to skip at the start of the epoch. Their images are not decoded.
        share: (k, n) selects part k (0 to n - 1) of n near-equal parts of each batch, for process k of n.
        workers: processes that load; 0 loads in this process.
        training: True shuffles and drops an incomplete last batch; False yields all samples in order.
        on_bad_image: what a damaged image does: `raise` or `skip`.
        device: where the batches are used. If it is a GPU, each batch is copied there in advance.
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
    """Yield the batches of one pass over a source. They are bit-identical for any number of workers.

    The order is a function of (seed, epoch), the randomness of each sample of (seed, epoch, index). If the
    share of a batch is empty, no batch is yielded for it.

    With on_bad_image="skip" a damaged image is named in `Batch.bad`. In training the next intact image of
    the source replaces it, so a batch still depends only on its number. In evaluation it is left out.

    Args:
        source: the samples.
        prepare: turns a sample into tensors. It must not keep the random generators it uses.
        loading: batch size, order, workers and handling of damaged images.

    Raises:
        JobError: an image is damaged and on_bad_image is `raise`, more images are damaged than
            `bad_image_limit` allows, or no image of the pass can be read; LoadingFailed: a loading process
            was killed, or memory is full.
    """
    samples, size = len(source), loading.batch
    indices = order(samples, loading.seed, loading.epoch) if loading.training else np.arange(samples)
    stop = samples - samples % size if loading.training else samples
    chunks = [indices[i : min(i + size, stop)] for i in range(loading.skip * size, stop, size)]
    part, parts = loading.share
    chunks = [np.array_split(chunk, parts)[part] for chunk in chunks]
    limit = bad_image_limit(samples) if loading.on_bad_image == "skip" else 0
    batch_maker = _BatchMaker(source, prepare, loading.seed, loading.epoch, limit, replace=loading.training)
    if loading.workers:
        pin_memory = loading.device.startswith("cuda")
        made = in_workers(batch_maker, chunks, loading.workers, pin_memory=pin_memory)
    else:
        made = (batch_maker(chunk) for chunk in chunks)
    return ahead(_checked(made, limit, whole=parts == 1), loading.device)


def bad_image_limit(images: int) -> int:
    """How many damaged images are skipped in one pass before loading fails: 1 % of `images`, at least 10."""
    return max(10, images // 100)


@dataclass(frozen=True)
class _BatchMaker:
    """Makes a batch from sample indices. limit: damaged images to skip at most; 0 raises on the first one."""

    source: Source
    prepare: Prepare
    seed: int
    epoch: int
    limit: int
    replace: bool

    def __call__(self, indices: np.ndarray) -> Batch:
        """Make one batch. Raises JobError if an image is damaged and may not be skipped."""
        prepared: list[Mapping[str, Tensor]] = []
        kept: list[int] = []
        bad: list[str] = []
        for requested in indices.tolist():
            for index in self._candidates(requested):
                tensors = self._prepared(index, requested, bad)
                if tensors is not None:
                    prepared.append(tensors)
                    kept.append(index)
                    break
        names = prepared[0] if prepared else ()
        stacked = {name: _stacked([tensors[name] for tensors in prepared]) for name in names}
        return Batch(stacked, len(kept), torch.tensor(kept, dtype=torch.int64), tuple(bad))

    def _candidates(self, index: int) -> Iterable[int]:
        """The requested sample and, in training, the samples after it, which replace it if it is damaged."""
        if not self.replace:
            return (index,)
        return (i % len(self.source) for i in range(index, index + len(self.source)))

    def _prepared(self, index: int, requested: int, bad: list[str]) -> Mapping[str, Tensor] | None:
        """The tensors of a sample, augmented with the randomness of the requested one.

        Returns None for a damaged image and adds its error to `bad`.
        """
        try:
            return self.prepare(self.source.sample(index), Draw(self.seed, self.epoch, requested))
        except BadImage as error:
            if not self.limit:
                raise JobError(f"{error}; repair or remove it, or pass --on-bad-image skip") from None
            bad.append(str(error))
            check_limit(bad, self.limit)
            return None


def _stacked(tensors: list[Tensor]) -> Tensor:
    """Stack the tensors of N samples to [N, ...]. Images, uint8 [3, H, W], stay channels-last in memory."""
    if tensors[0].dim() == 3 and tensors[0].dtype == torch.uint8:
        return torch.stack([image.permute(1, 2, 0) for image in tensors]).permute(0, 3, 1, 2)
    return torch.stack(tensors)


def _checked(made: Generator[Batch], limit: int, whole: bool) -> Generator[Batch]:
    """Count damaged images and drop empty batches.

    whole: the stream covers whole batches, not one process's share, so it must hold at least one intact
    image.
    """
    bad: set[str] = set()
    good = 0
    with closing(made):  # stops the workers now; a traceback would keep them alive
        for batch in made:
            if batch.bad:
                bad.update(batch.bad)
                check_limit(bad, limit)
            good += batch.count
            if batch.count:
                yield batch
    if whole and bad and not good:
        raise JobError(f"none of the images can be read; for example: {min(bad)}")


def check_limit(bad: Iterable[str], limit: int) -> None:
    """Raise JobError if more than `limit` different images are damaged. bad: one line per damaged image."""
    damaged = set(bad)
    if len(damaged) > limit:
        raise JobError(
            f"more than {limit} damaged images, the limit for skipping; for example: {min(damaged)}; "
            f"to list them all: rescale data verify"
        )
