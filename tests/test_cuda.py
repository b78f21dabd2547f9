"""What only a GPU can show; skipped where there is none."""

import itertools

import numpy as np
import pytest
import torch

import rescale
from rescale.bench import Protocol
from rescale.data import Batch
from rescale.data.prefetch import ahead
from rescale.recipes import recipe
from rescale.training import Settings, train

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def numbered(count: int) -> list[Batch]:
    draw = np.random.default_rng(0)
    return [
        Batch(
            torch.from_numpy(draw.integers(0, 256, (4, 3, 64, 64), dtype=np.uint8)),
            torch.full((4,), number),
            torch.arange(4),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=cuda)])
def test_batches_sent_ahead_are_the_same(device: str) -> None:
    given = numbered(9)
    found = list(ahead(iter(given), device))
    assert len(found) == len(given)
    for one, other in zip(given, found, strict=True):
        assert other.images.device.type == device
        assert torch.equal(one.images, other.images.cpu()) and torch.equal(one.labels, other.labels.cpu())


def test_no_batch_is_no_batch() -> None:
    assert list(itertools.islice(ahead(iter([]), "cpu"), 1)) == []


@cuda
@pytest.mark.parametrize(
    "fast", ["channels_last", "contiguous", "channels_last+compile", "channels_last+graphs"]
)
def test_a_run_learns_on_a_gpu(tmp_path, fast: str) -> None:
    chosen = recipe("resnet-rs", epochs=2, batch=64, flip=0.0, minival=0.0, keep_best=False)
    settings = Settings(device="cuda", fast=fast, workers=2)
    net = rescale.network("resnetrs26x0.25+smallstem@8")
    run = train(net, chosen, "digits", tmp_path / "run", settings=settings, quiet=True)
    rows = [row["loss"] for row in run.metrics() if row["kind"] == "train"]
    assert rows[-1] < rows[0] and run.result is not None


@cuda
def test_timing_on_a_gpu_reads_the_allocators_peak() -> None:
    timing = rescale.time_network(
        rescale.network("resnetrs50@64"), Protocol(device="cuda", batch=8, repeats=3)
    )
    assert 2**26 < timing.memory_bytes < 2**34 and timing.latency_s > 0
