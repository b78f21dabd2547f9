"""What tests share that load images of one class each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, tensor

from rescale.data import Draw, LazyImage, Sample


@dataclass(frozen=True)
class Classified:
    """Prepares `images` by a transform (image, rng) -> tensor, and `labels`."""

    transform: Callable[[LazyImage, np.random.Generator], Tensor]

    def __call__(self, sample: Sample, draw: Draw) -> dict[str, Tensor]:
        return {"images": self.transform(sample.media, draw.rng()), "labels": tensor(sample.target)}
