"""What every random decision of a pass over data is drawn from: seed, epoch, index and view alone."""

from dataclasses import dataclass

import numpy as np

# Seeds end in one of these: NumPy pads them with zeros, so that (s, e) and (s, e, 0) would draw the same.
_ORDER, _SAMPLE = 1, 2


@dataclass(frozen=True)
class Draw:
    """Where the randomness of one sample in one epoch comes from."""

    seed: int
    epoch: int
    index: int

    def rng(self, view: int = 0) -> np.random.Generator:
        """The generator of a view: the first (0), or a further one of the same sample."""
        words = (self.seed, self.epoch, self.index, _SAMPLE)
        return np.random.default_rng((*words, view) if view else words)


def order(samples: int, seed: int, epoch: int) -> np.ndarray:
    """int64 [samples]: the order of an epoch's samples."""
    return np.random.default_rng((seed, epoch, _ORDER)).permutation(samples)
