"""Splits of a training set by a hash of each sample's key: the same on every machine and for every seed."""

import hashlib
from collections.abc import Sequence

import numpy as np

from rescale.data.raw import Subset
from rescale.data.source import Source


def split(source: Source, share: float, salt: str) -> tuple[Subset, Subset]:
    """Hold out a share of the samples of each stratum. The choice depends only on the samples' keys.

    Args:
        source: the samples.
        share: share to hold out, in (0, 1); rounded, but at least one sample of each stratum. A stratum of
            one sample keeps it.
        salt: splits with different salts are independent.

    Returns:
        The kept samples and the held-out samples.
    """
    strata = source.strata
    ranks = rank([source.key(i) for i in range(len(source))], salt)
    held = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held[members[np.argsort(ranks[members], kind="stable")[:count]]] = True
    return Subset(source, np.flatnonzero(~held)), Subset(source, np.flatnonzero(held))


def rank(names: Sequence[str], salt: str) -> np.ndarray:
    """A pseudo-random number for each name, int64 [N], the same on every machine."""
    return np.array([_hash(f"{salt}/{name}") for name in names])


def _hash(text: str) -> int:
    encoded = text.encode(errors="surrogateescape")  # file names need not be UTF-8
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=7).digest(), "big")
