"""Every image looked at once: is it whole, and is it what it was?"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from rescale.data.loading import _begin_worker
from rescale.data.source import BadImage, Source

_AT_ONCE = 32  # images that a worker takes


class Check(NamedTuple):
    """An image's key and a sum of its pixels, or a complaint: one line that names it."""

    key: str
    sum: str
    complaint: str = ""


def check(source: Source, workers: int = 0) -> Iterator[Check]:
    """Decode all images, in order.

    The sum is of the decoded pixels, so that it is the same in every layout; another version of a JPEG
    decoder may give another. It tells what decoding alone cannot: most flipped bits of a JPEG decode.
    """
    loader: DataLoader[Any] = DataLoader(
        _Checks(source),
        batch_size=_AT_ONCE,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_begin_worker,
    )
    for checks in loader:
        yield from checks


@dataclass(frozen=True)
class _Checks(Dataset[Check]):
    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Check:
        key = self.source.key(index)
        try:
            pixels = self.source.sample(index).media.pixels()
        except BadImage as error:
            return Check(key, "", str(error))
        content = f"{pixels.shape[1]} {pixels.shape[0]} ".encode() + pixels.tobytes()
        return Check(key, hashlib.blake2b(content, digest_size=12).hexdigest())
