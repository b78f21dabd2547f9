"""An exponential moving average of weights and batch-norm statistics."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averages the floating-point parameters and buffers of a model; the others (counters) are copied.

    With the ramp the decay of update t is min(decay, (1 + t) / (10 + t)), so that the average of a short run
    forgets the initial weights (the authors' code; the first update is t = 1, with decay 2/11). Create it
    after the model is on its device and in its memory format, because it keeps references to the tensors.
    """

    def __init__(self, model: nn.Module, decay: float, ramp: bool = True) -> None:
        self.decay, self.ramp = decay, ramp
        live = {name: tensor.detach() for name, tensor in _tensors(model).items()}
        self._average = {name: tensor.clone() for name, tensor in live.items()}
        floats = [name for name, tensor in live.items() if tensor.is_floating_point()]
        self._averaged = [self._average[name] for name in floats]
        self._live = [live[name] for name in floats]
        counters = [name for name in live if name not in set(floats)]
        self._copied = [self._average[name] for name in counters], [live[name] for name in counters]

    def decay_at(self, t: int) -> float:
        """Decay of update t, counted from 1."""
        return min(self.decay, (1 + t) / (10 + t)) if self.ramp else self.decay

    @torch.no_grad()
    def update(self, t: int) -> None:
        """Update the average with the model's state after optimizer step t (from 1)."""
        torch._foreach_lerp_(self._averaged, self._live, 1 - self.decay_at(t))
        if self._copied[0]:
            torch._foreach_copy_(*self._copied)

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Within this context the model has the averaged weights."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged tensors by the model's names."""
        return dict(self._average)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load the averaged tensors from a state dict with the same names."""
        for name, tensor in self._average.items():
            tensor.copy_(state[name])

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for name, tensor in _tensors(model).items():
            own = tensor.detach().clone()
            tensor.copy_(self._average[name])
            self._average[name].copy_(own)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; state_dict() omits some and is slower."""
    return dict(model.named_parameters()) | dict(model.named_buffers())
