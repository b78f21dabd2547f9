"""Batches on a GPU before they are needed."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from rescale.data.source import Batch


def ahead(stream: Iterator[Batch], device: str) -> Iterator[Batch]:
    """The same batches, on a GPU each copied there while the one before it is worked on.

    The copy runs on a stream of its own, from pinned memory; a batch is given out once the stream that
    works on it will wait for its copy. On a CPU the batches themselves.
    """
    if not device.startswith("cuda"):
        yield from stream
        return
    side = torch.cuda.Stream(device)
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for batch in stream:
        with torch.cuda.stream(side):
            copied = replace(batch, tensors={name: _sent(t, device) for name, t in batch.tensors.items()})
            done = side.record_event()
        if waiting is not None:
            yield _given(*waiting)
        waiting = copied, done
    if waiting is not None:
        yield _given(*waiting)


def _sent(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """A copy on the device, still on its way."""
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


def _given(batch: Batch, done: torch.cuda.Event) -> Batch:
    """Let the present stream wait for the copy, and keep the memory until it has used it."""
    working = torch.cuda.current_stream()
    working.wait_event(done)
    for tensor in batch.tensors.values():
        tensor.record_stream(working)
    return batch
