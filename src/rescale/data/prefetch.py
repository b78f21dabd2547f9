"""Copy batches to a GPU before they are needed."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from rescale.data.source import Batch


def ahead(stream: Iterator[Batch], device: str) -> Iterator[Batch]:
    """Yield the batches, each copied to the GPU while the batch before it is processed.

    The copy runs on a separate CUDA stream, from pinned memory. The stream that uses a batch waits for its
    copy. On a CPU the batches are passed through unchanged.
    """
    if not device.startswith("cuda"):
        yield from stream
        return
    copy_stream = torch.cuda.Stream(device)
    pending: tuple[Batch, torch.cuda.Event] | None = None
    for batch in stream:
        with torch.cuda.stream(copy_stream):
            copied = replace(batch, tensors={name: _copy(t, device) for name, t in batch.tensors.items()})
            done = copy_stream.record_event()
        if pending is not None:
            yield _after_copy(*pending)
        pending = copied, done
    if pending is not None:
        yield _after_copy(*pending)


def _copy(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """Start an asynchronous copy to the device."""
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


def _after_copy(batch: Batch, done: torch.cuda.Event) -> Batch:
    """Make the current stream wait for the copy, and keep its memory until that stream has used it."""
    current = torch.cuda.current_stream()
    current.wait_event(done)
    for tensor in batch.tensors.values():
        tensor.record_stream(current)
    return batch
