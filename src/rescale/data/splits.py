"""Parts of a training set, fixed by a hash of each image's identity: the same everywhere, for any seed."""

import hashlib
from collections.abc import Sequence

import numpy as np

from rescale.data.raw import Subset
from rescale.data.source import Source


def split(source: Source, share: float, salt: str) -> tuple[Subset, Subset]:
    """Hold out about `share` of the samples of each stratum, at least one; returns (kept, held out).

    Which ones depends on nothing but the samples' keys. salt: two splits of other salts are independent.
    A stratum of one sample keeps it.
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
    """A number for each name that orders them at random, the same way everywhere."""
    return np.array([_hash(f"{salt}/{name}") for name in names])


def _hash(text: str) -> int:
    encoded = text.encode(errors="surrogateescape")  # file names need not be UTF-8
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=7).digest(), "big")
