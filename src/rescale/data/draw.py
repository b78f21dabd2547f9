"""Random generators for one pass over the data, derived only from seed, epoch, index and view."""

from dataclasses import dataclass

import numpy as np

# The last word of a seed. NumPy pads seeds with zeros, so (s, e) and (s, e, 0) would be the same stream.
_ORDER, _SAMPLE = 1, 2


@dataclass(frozen=True)
class Draw:
    """The source of randomness of one sample in one epoch."""

    seed: int
    epoch: int
    index: int

    def rng(self, view: int = 0) -> np.random.Generator:
        """The random generator of a view of the sample. view: 0 for the first, 1 for the second, ..."""
        words = (self.seed, self.epoch, self.index, _SAMPLE)
        return np.random.default_rng((*words, view) if view else words)


def order(samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the samples in one epoch: a permutation, int64 [samples]."""
    return np.random.default_rng((seed, epoch, _ORDER)).permutation(samples)
