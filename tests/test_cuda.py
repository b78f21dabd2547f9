"""Tests that need a GPU; skipped if there is none."""

import itertools

import numpy as np
import pytest
import torch

import rescale
from rescale.bench import TimingProtocol
from rescale.data import Batch
from rescale.data.prefetch import ahead
from rescale.execution import ExecutionMode
from rescale.recipes import recipe, resolve
from rescale.tasks import task_of
from rescale.training import Settings, train
from rescale.training.assemble import assemble

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def numbered(count: int) -> list[Batch]:
    draw = np.random.default_rng(0)
    return [
        Batch(
            {
                "images": torch.from_numpy(draw.integers(0, 256, (4, 3, 64, 64), dtype=np.uint8)),
                "labels": torch.full((4,), number),
            },
            4,
            torch.arange(4),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=cuda)])
def test_batches_sent_ahead_are_the_same(device: str) -> None:
    batches = numbered(9)
    copied = list(ahead(iter(batches), device))
    assert len(copied) == len(batches)
    for original, copy in zip(batches, copied, strict=True):
        assert copy.tensors["images"].device.type == device
        assert all(torch.equal(tensor, copy.tensors[name].cpu()) for name, tensor in original.tensors.items())


def test_an_empty_stream_stays_empty() -> None:
    assert list(itertools.islice(ahead(iter([]), "cpu"), 1)) == []


@cuda
@pytest.mark.parametrize(
    ("fast", "changes"),
    [
        ("channels_last", {}),
        ("channels_last", {"precision": "fp16"}),
        ("channels_last+checkpointing", {"precision": "fp32"}),
        ("contiguous", {"accumulate": 2}),
        ("channels_last+compile", {}),
        ("channels_last+graphs", {}),
        ("channels_last+graphs", {"accumulate": 2}),
    ],
)
def test_a_run_learns_on_a_gpu(tmp_path, fast: str, changes: dict) -> None:
    easy = {
        "lr": 0.2,
        "augment": "none",
        "crop_area_min": 0.6,
        "flip": 0.0,
        "minival": 0.0,
        "keep_best": False,
    }
    chosen = recipe("resnet-rs", epochs=4, batch=64, **easy, **changes)
    settings = Settings(device="cuda", fast=fast, workers=2)
    net = rescale.network("resnetrs26x0.25+smallstem@8")
    run = train(net, chosen, "digits", tmp_path / "run", settings=settings, quiet=True)
    rows = [row["loss"] for row in run.metrics() if row["kind"] == "train"]
    assert rows[-1] < rows[0] and run.result is not None


@cuda
def test_timing_on_a_gpu_reads_the_allocators_peak() -> None:
    timing = rescale.time_network(
        rescale.network("resnetrs50@64"), TimingProtocol(device="cuda", batch=8, repeats=3)
    )
    assert 2**26 < timing.memory_bytes < 2**34 and timing.latency_s > 0


@cuda
def test_graphs_take_the_steps_that_eager_code_takes() -> None:
    """Two micro-batches per step: CUDA graphs return gradients in memory that they reuse."""
    net = rescale.network("resnetrs26x0.25+smallstem@32")
    chosen = resolve(recipe("resnet-rs", batch=8, accumulate=2, precision="fp32", ema=0.0), net).recipe
    task = task_of(chosen)
    losses = []
    for mode in ("channels_last", "channels_last+graphs"):
        stepper, _ = assemble(net, chosen, task, 10, mode=ExecutionMode.parse(mode), device="cuda")
        batches = [batch.to("cuda") for batch in numbered(12)]
        losses.append([stepper(batches[2 * i : 2 * i + 2], i).loss for i in range(6)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
