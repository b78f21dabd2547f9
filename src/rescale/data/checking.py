"""Verification of a data set: decode every image once and checksum its pixels."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from rescale.data.loading import _init_worker
from rescale.data.measure import with_decoding
from rescale.data.source import PLAIN, BadImage, Source
from rescale.preprocess import BEFORE

_CHUNK = 32  # images a worker decodes at a time


class Check(NamedTuple):
    """The result for one image.

    Args:
        key: the sample's key in its source.
        sum: checksum of the decoded pixels, in hex; empty if the image is damaged.
        complaint: one line that names the damaged image and the reason; empty if it decodes.
    """

    key: str
    sum: str
    complaint: str = ""


def check(source: Source, workers: int = 0) -> Iterator[Check]:
    """Decode all images and yield a `Check` for each, in the order of the source.

    The checksum covers the decoded pixels as stored, not turned and not scaled to the data's range. So it
    does not depend on the layout of the data, and sums of earlier versions stay valid. It may change with
    the version of the JPEG decoder. It finds errors that decoding alone misses: a JPEG with a flipped bit
    usually still decodes.

    Args:
        source: the images.
        workers: processes that decode; 0 decodes in this process.
    """
    loader: DataLoader[Any] = DataLoader(
        _Checks(source, with_decoding(source, BEFORE)),
        batch_size=_CHUNK,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_init_worker,
    )
    for checks in loader:
        yield from checks


@dataclass(frozen=True)
class _Checks(Dataset[Check]):
    """source: the images as they are used. stored: the same as they are stored."""

    source: Source
    stored: Source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Check:
        key = self.source.key(index)
        try:
            image = self.source.sample(index).media
            pixels = image.pixels()
            if image.header != PLAIN:
                pixels = self.stored.sample(index).media.pixels()
        except BadImage as error:
            return Check(key, "", str(error))
        content = f"{pixels.shape[1]} {pixels.shape[0]} ".encode() + pixels.tobytes()
        return Check(key, hashlib.blake2b(content, digest_size=12).hexdigest())
