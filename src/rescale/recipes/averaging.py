"""An exponential moving average of weights and batch-norm statistics."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averages every floating-point parameter and buffer of a model; others (counters) are copied.

    After t updates the decay is min(decay, (1 + t) / (10 + t)) with the ramp, so that a short run's
    average leaves its beginning behind (the authors' code; first update t = 1, decay 2/11).
    """

    def __init__(self, model: nn.Module, decay: float, ramp: bool = True) -> None:
        self.decay, self.ramp = decay, ramp
        # parameters and buffers, and not state_dict(), whose making costs more than the update itself
        self._live = [*dict(model.named_parameters()).items(), *dict(model.named_buffers()).items()]
        self._average = {name: tensor.detach().clone() for name, tensor in self._live}
        self._pairs = [(self._average[n], t.detach()) for n, t in self._live if t.is_floating_point()]
        self._copied = [(self._average[n], t.detach()) for n, t in self._live if not t.is_floating_point()]

    def decay_at(self, t: int) -> float:
        """Decay of update t, counted from 1."""
        return min(self.decay, (1 + t) / (10 + t)) if self.ramp else self.decay

    @torch.no_grad()
    def update(self, t: int) -> None:
        """Take the model's present state in, after optimizer step t (from 1)."""
        averages, live = [a for a, _ in self._pairs], [tensor for _, tensor in self._pairs]
        torch._foreach_lerp_(averages, live, 1 - self.decay_at(t))
        for average, tensor in self._copied:
            average.copy_(tensor)

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """While entered, the model has the averaged weights; afterwards its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged tensors by the model's names."""
        return dict(self._average)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the averaged tensors from a state dict of the same names."""
        for name, tensor in self._average.items():
            tensor.copy_(state[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self._live:
            kept = tensor.detach().clone()
            tensor.copy_(self._average[name])
            self._average[name].copy_(kept)
