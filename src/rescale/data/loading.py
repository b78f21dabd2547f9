"""From a source to batches. Order and augmentation depend on seed, epoch and index alone."""

import atexit
import gc
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from rescale.data.prefetch import ahead
from rescale.data.source import BadImage, Batch, LazyImage, Source
from rescale.errors import JobError

Transform = Callable[[LazyImage, np.random.Generator], Tensor]  # -> uint8 [3, R, R]

# Seeds end in one of these: NumPy pads them with zeros, so that (s, e) and (s, e, 0) would draw the same.
_ORDER, _SAMPLE = 1, 2


def batches(
    source: Source,
    transform: Transform,
    *,
    batch: int,
    seed: int,
    epoch: int,
    skip: int = 0,
    share: tuple[int, int] = (0, 1),
    workers: int = 0,
    shuffle: bool = True,
    drop_last: bool = True,
    on_bad_image: str = "raise",
    device: str = "cpu",
) -> Iterator[Batch]:
    """An epoch's batches from number `skip` on; the same bytes for any number of workers.

    The order is a function of (seed, epoch), each image's randomness of (seed, epoch, index). Nothing is
    decoded for the batches before `skip`. share: (k, n) gives part k of each batch's n near-equal parts, for
    one of n processes; an empty part gives no batch. transform must not keep the generator it is given.
    device: where the batches will be used; on a GPU they are copied there ahead (`prefetch.ahead`).

    A damaged image raises JobError, which names it. With on_bad_image="skip" it is named in Batch.bad
    instead and, in training (shuffle), replaced by the next good image of the source, so that a batch
    depends on nothing but its number; in evaluation it is left out. JobError when more images than
    `bad_image_limit` says are found damaged in one pass, or none is good.
    """
    indices = order(len(source), seed, epoch) if shuffle else np.arange(len(source))
    stop = len(indices) - len(indices) % batch if drop_last else len(indices)
    chunks = [indices[i : min(i + batch, stop)] for i in range(skip * batch, stop, batch)]
    chunks = [np.array_split(chunk, share[1])[share[0]] for chunk in chunks]
    limit = bad_image_limit(len(source)) if on_bad_image == "skip" else 0
    maker = _Maker(source, source.labels, transform, seed, epoch, limit, replace=shuffle)
    made = _in_workers(maker, chunks, workers, device) if workers else map(maker.__getitem__, chunks)
    stream = _checked(made, limit, whole=share[1] == 1)
    _STREAMS.add(stream)
    return ahead(stream, device)


def order(images: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch's images."""
    return np.random.default_rng((seed, epoch, _ORDER)).permutation(images)


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """What decides an image's augmentation in an epoch."""
    return np.random.default_rng((seed, epoch, index, _SAMPLE))


def bad_image_limit(images: int) -> int:
    """How many damaged images of a source are passed over before it is given up: 1 %, at least ten."""
    return max(10, images // 100)


@dataclass(frozen=True)
class _Maker(Dataset[Batch | Exception]):
    """Makes a batch of the images with given indices. limit: damaged images to pass over; 0: none."""

    source: Source
    labels: np.ndarray
    transform: Transform
    seed: int
    epoch: int
    limit: int
    replace: bool

    def __getitem__(self, indices: np.ndarray) -> Batch | Exception:
        """The batch; in a worker an error is returned: one raised there would keep the workers waiting."""
        images: list[Tensor] = []
        kept: list[int] = []
        bad: list[str] = []
        try:
            for asked in indices.tolist():
                for index in self._candidates(asked):
                    image = self._made(index, asked, bad)
                    if image is not None:
                        images.append(image)
                        kept.append(index)
                        break
        except JobError as error:
            return error
        except Exception:
            if get_worker_info() is None:
                raise
            return RuntimeError(f"in a loading process:\n{traceback.format_exc()}")
        pixels = _stacked(images) if images else torch.empty(0, dtype=torch.uint8)
        labels = torch.from_numpy(self.labels[kept].astype(np.int64))
        return Batch(pixels, labels, torch.tensor(kept, dtype=torch.int64), tuple(bad))

    def _candidates(self, index: int) -> Iterable[int]:
        """The image asked for, and in training those after it, which take its place."""
        if not self.replace:
            return (index,)
        return (i % len(self.source) for i in range(index, index + len(self.source)))

    def _made(self, index: int, asked: int, bad: list[str]) -> Tensor | None:
        """What the network sees of an image, by the draws of the one asked for.

        None where it is damaged, which is noted.
        """
        try:
            return self.transform(self.source.image(index), sample_rng(self.seed, self.epoch, asked))
        except BadImage as error:
            if not self.limit:
                raise JobError(f"{error}; mend or remove it, or pass --on-bad-image skip") from None
            bad.append(str(error))
            check_limit(bad, self.limit)
            return None


def _stacked(images: list[Tensor]) -> Tensor:
    """uint8 [3, R, R] each -> [N, 3, R, R], channels last in memory as they are, so that none is turned."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _in_workers(maker: _Maker, chunks: list[np.ndarray], workers: int, device: str) -> DataLoader:
    return DataLoader(
        maker,
        sampler=chunks,  # a sampler of whole batches: one `index` of the maker is one batch
        batch_size=None,
        num_workers=workers,
        pin_memory=device.startswith("cuda"),  # by a thread beside the loop
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
        for found in stream:
            if isinstance(found, Exception):
                raise found
            if found.bad:
                bad.update(found.bad)
                check_limit(bad, limit)
            good += len(found.labels)
            if len(found.labels):
                yield found
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
    found = set(bad)
    if len(found) > limit:
        raise JobError(
            f"more than {limit} damaged images, the most that are skipped; one of them: {min(found)}; "
            f"list them all with: rescale data verify"
        )
