"""Verification of a data set: decode every image once and checksum its pixels."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rescale.data.source import BadImage, Source
from rescale.data.workers import in_workers

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

    The checksum covers the decoded pixels, so it does not depend on the layout of the data. It may change
    with the version of the JPEG decoder. It finds errors that decoding alone misses: a JPEG with a flipped
    bit usually still decodes.

    Args:
        source: the images.
        workers: processes that decode; 0 decodes in this process.

    Raises:
        JobError: a process that decodes was killed, or memory is full.
    """
    check_some = _Checks(source)
    chunks = [range(i, min(i + _CHUNK, len(source))) for i in range(0, len(source), _CHUNK)]
    for checks in in_workers(check_some, chunks, workers) if workers else map(check_some, chunks):
        yield from checks


@dataclass(frozen=True)
class _Checks:
    """Checks the images of some indices."""

    source: Source

    def __call__(self, indices: range) -> list[Check]:
        return [self._check(index) for index in indices]

    def _check(self, index: int) -> Check:
        key = self.source.key(index)
        try:
            pixels = self.source.sample(index).media.pixels()
        except BadImage as error:
            return Check(key, "", str(error))
        content = f"{pixels.shape[1]} {pixels.shape[0]} ".encode() + pixels.tobytes()
        return Check(key, hashlib.blake2b(content, digest_size=12).hexdigest())
