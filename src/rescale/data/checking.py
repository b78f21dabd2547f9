"""Verification of a data set: decode every image once and checksum its pixels."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rescale.data.measure import with_decoding
from rescale.data.source import PLAIN, BadImage, Source
from rescale.data.workers import in_workers
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

    Raises:
        JobError: a process that decodes was killed, or memory is full.
    """
    check_some = _Checks(source, with_decoding(source, BEFORE))
    chunks = [range(i, min(i + _CHUNK, len(source))) for i in range(0, len(source), _CHUNK)]
    for checks in in_workers(check_some, chunks, workers) if workers else map(check_some, chunks):
        yield from checks


@dataclass(frozen=True)
class _Checks:
    """Checks the images of some indices. source: the images as used. stored: the same as they are stored."""

    source: Source
    stored: Source

    def __call__(self, indices: range) -> list[Check]:
        return [self._check(index) for index in indices]

    def _check(self, index: int) -> Check:
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
