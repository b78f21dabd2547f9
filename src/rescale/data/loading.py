"""From a source to batches. Order and augmentation depend on seed, epoch and index alone."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rescale.data.source import BadImage, Batch, Source
from rescale.errors import JobError

Transform = Callable[[Image.Image, np.random.Generator], Tensor]  # -> uint8 [3, R, R]


def batches(
    source: Source,
    transform: Transform,
    *,
    batch: int,
    seed: int,
    epoch: int,
    skip: int = 0,
    workers: int = 0,
    shuffle: bool = True,
    drop_last: bool = True,
    on_bad_image: str = "raise",
) -> Iterator[Batch]:
    """An epoch's batches from number `skip` on; the same bytes for any number of workers.

    The order is a function of (seed, epoch), each image's randomness of (seed, epoch, index). A damaged
    image raises JobError, or with on_bad_image="skip" is named in Batch.bad and, in training, replaced by
    the next good one of the source; in evaluation (shuffle=False) it is left out.
    """
    indices = order(len(source), seed, epoch) if shuffle else np.arange(len(source))
    stop = len(indices) - len(indices) % batch if drop_last else len(indices)
    chunks = [indices[i : min(i + batch, stop)] for i in range(skip * batch, stop, batch)]
    maker = _Maker(source, transform, seed, epoch, on_bad_image == "skip", replace=shuffle)
    if workers == 0:
        return map(maker.__getitem__, chunks)
    loader = DataLoader(
        maker,
        sampler=chunks,  # a sampler of whole batches: one `index` of the maker is one batch
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # its own, so that the default one is not drawn from
        prefetch_factor=2,
    )
    return iter(loader)


def order(images: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch's images."""
    return np.random.default_rng((seed, epoch)).permutation(images)


@dataclass(frozen=True)
class _Maker(Dataset[Batch]):
    """Makes a batch of the images with given indices."""

    source: Source
    transform: Transform
    seed: int
    epoch: int
    skip_bad: bool
    replace: bool

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        images, kept, bad = [], [], []
        for asked in indices:
            index, image = self._good(int(asked), bad)
            if image is None:
                continue
            generator = np.random.default_rng((self.seed, self.epoch, int(asked)))
            images.append(self.transform(image, generator))
            kept.append(index)
        if not images:
            raise JobError(f"no image of a whole batch can be read; the last: {bad[-1]}")
        labels = torch.tensor([int(self.source.labels[index]) for index in kept])
        return Batch(torch.stack(images), labels, torch.tensor(kept), tuple(bad))

    def _good(self, index: int, bad: list[str]) -> tuple[int, Image.Image | None]:
        """The image at an index, or the next good one, or none; what is damaged is noted."""
        for _ in range(len(self.source)):
            try:
                return index, self.source.image(index)
            except BadImage as error:
                if not self.skip_bad:
                    raise JobError(f"{error}; mend or remove it, or pass --on-bad-image skip") from None
                bad.append(str(error))
                if not self.replace:
                    break
            index = (index + 1) % len(self.source)
        return index, None


def _begin_worker(_: int) -> None:
    """Workers leave signals to the process that started them, which saves first, and use one thread."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
