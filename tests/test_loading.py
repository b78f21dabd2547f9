"""Batches: order, randomness, workers, damaged images."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from classified import Classified
from rescale.data import BadImage, Batch, LazyImage, Loading, Sample, batches, open_data
from rescale.data.checking import check
from rescale.data.draw import order
from rescale.data.folders import Folder
from rescale.data.loading import bad_image_limit
from rescale.data.workers import LoadingFailed
from rescale.errors import JobError
from rescale.lookup import network
from rescale.recipes import recipe, resolve
from rescale.tasks import task_of


@dataclass(frozen=True)
class Numbers:
    """Images whose pixels all equal their index; those in `damaged` cannot be decoded."""

    images: int
    damaged: frozenset[int] = frozenset()

    @property
    def strata(self) -> np.ndarray:
        return np.arange(self.images) % 7

    def __len__(self) -> int:
        return self.images

    def sample(self, index: int) -> Sample:
        if index in self.damaged:
            raise BadImage(f"image {index}: damaged")
        return Sample(LazyImage.of(np.full((4, 4, 3), index % 256, dtype=np.uint8)), index % 7)

    def describe(self, index: int) -> str:
        return f"image {index}"


def noisy(image: LazyImage, rng: np.random.Generator) -> torch.Tensor:
    """The index in the first channel, random values in the others."""
    pixels = image.pixels().copy()
    pixels[..., 1:] = rng.integers(0, 256, (4, 4, 2))
    return torch.from_numpy(pixels).permute(2, 0, 1)


NOISY = Classified(noisy)
LOADING = Loading(batch=8, seed=3, epoch=1)


def load(source=Numbers(50), **changes) -> list[Batch]:
    return list(batches(source, NOISY, replace(LOADING, **changes)))


def equal(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(first.indices, second.indices)
        and first.bad == second.bad
        and first.tensors.keys() == second.tensors.keys()
        and all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())
        for first, second in zip(a, b, strict=True)
    )


def test_a_batch_holds_the_images_it_names() -> None:
    for batch in load():
        images, labels, indices = batch.tensors["images"], batch.tensors["labels"], batch.indices
        assert batch.count == 8 and images.dtype == torch.uint8 and images.shape == (8, 3, 4, 4)
        assert labels.dtype == indices.dtype == torch.int64
        assert torch.equal(images[:, 0, 0, 0].long(), indices)
        assert torch.equal(labels, indices % 7)
        assert batch.bad == ()


def test_an_epoch_sees_every_image_at_most_once_and_evaluation_all_in_order() -> None:
    seen = torch.cat([batch.indices for batch in load()])
    assert len(seen) == len(set(seen.tolist())) == 48
    held = load(training=False)
    assert torch.cat([batch.indices for batch in held]).tolist() == list(range(50))
    assert held[-1].count == 2


def test_order_and_randomness_follow_seed_and_epoch() -> None:
    assert equal(load(), load())
    for change in ({"seed": 4}, {"epoch": 2}):
        other = load(**change)
        assert not torch.equal(load()[0].indices, other[0].indices)
    # one image in two epochs: different draws; in another order, same epoch: the same draws
    first = next(b.tensors["images"][i] for b in load() for i, n in enumerate(b.indices) if n == 5)
    later = next(b.tensors["images"][i] for b in load(epoch=2) for i, n in enumerate(b.indices) if n == 5)
    unshuffled = load(training=False)[0].tensors["images"][5]
    assert not torch.equal(first, later)
    assert torch.equal(first, unshuffled)


def test_the_draws_of_two_images_differ() -> None:
    draws = {bytes(image[1:].contiguous().numpy()) for batch in load() for image in batch.tensors["images"]}
    assert len(draws) == 48


def test_order_is_a_permutation_that_never_changes() -> None:
    """A resumed run continues in the order it started with, on any machine and after any update."""
    assert sorted(order(1000, 0, 0).tolist()) == list(range(1000))
    assert order(10, 0, 0).tolist() == [5, 1, 6, 3, 4, 8, 9, 7, 2, 0]


@pytest.mark.parametrize("skip", [1, 5, 6])
@pytest.mark.parametrize("workers", [0, 2])
def test_skipping_leads_to_the_same_batches(skip: int, workers: int) -> None:
    assert equal(load(skip=skip, workers=workers), load()[skip:])


def test_nothing_is_decoded_for_skipped_batches() -> None:
    ahead = frozenset(order(50, 3, 1)[:16].tolist())
    with pytest.raises(JobError):
        load(Numbers(50, ahead))
    assert equal(load(Numbers(50, ahead), skip=2), load()[2:])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("damaged", [frozenset(), frozenset({0, 7, 8, 49})])
def test_workers_make_the_same_bytes(workers: int, damaged: frozenset[int]) -> None:
    for options in ({}, {"training": False}):
        options |= {"source": Numbers(50, damaged), "on_bad_image": "skip"}
        assert equal(load(workers=workers, **options), load(**options))


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_draws_nothing_from_the_default_generators(workers: int) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    load(workers=workers)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_in_one_line(workers: int) -> None:
    with pytest.raises(JobError) as caught:
        load(Numbers(50, frozenset({5})), workers=workers)
    assert str(caught.value).startswith("image 5: damaged")
    assert "--on-bad-image skip" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_in_training_the_next_good_image_replaces_a_damaged_one() -> None:
    loaded = load(Numbers(50, frozenset({5, 6, 49})), on_bad_image="skip")
    replacement = {5: 7, 6: 7, 49: 0}
    for sound, batch in zip(load(), loaded, strict=True):
        requested = sound.indices.tolist()
        assert batch.indices.tolist() == [replacement.get(index, index) for index in requested]
        assert torch.equal(batch.tensors["images"][:, 0, 0, 0].long(), batch.indices)
        assert torch.equal(batch.tensors["labels"], batch.indices % 7)
        skipped = [bad for i in requested for bad in {5: (5, 6), 6: (6,), 49: (49,)}.get(i, ())]
        assert batch.bad == tuple(f"image {i}: damaged" for i in skipped)


def test_in_evaluation_damaged_images_are_left_out() -> None:
    damaged = frozenset({5, 48, 49})  # the last two form a batch
    loaded = load(Numbers(50, damaged), on_bad_image="skip", training=False)
    assert torch.cat([b.indices for b in loaded]).tolist() == [i for i in range(48) if i != 5]
    assert all(len(b.tensors["images"]) == b.count == len(b.indices) > 0 for b in loaded)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("training", [True, False])
def test_more_damaged_images_than_the_limit_end_the_job(workers: int, training: bool) -> None:
    options = {"on_bad_image": "skip", "workers": workers, "training": training, "batch": 10}
    at_limit = frozenset(range(0, 40, 4))
    assert bad_image_limit(50) == len(at_limit) == 10
    load(Numbers(50, at_limit), **options)
    with pytest.raises(JobError, match="more than 10 damaged images"):
        load(Numbers(50, at_limit | {41}), **options)


def test_the_limit_counts_an_image_once_and_grows_with_the_source() -> None:
    # image 10 is skipped for itself and for each image before it, but counts once
    loaded = load(Numbers(50, frozenset(range(1, 11))), on_bad_image="skip", batch=10)
    assert sum(len(batch.bad) for batch in loaded) == 55
    assert bad_image_limit(2500) == 25


def test_no_good_image_at_all_is_an_error() -> None:
    for training in (True, False):
        with pytest.raises(JobError):
            load(Numbers(4, frozenset(range(4))), on_bad_image="skip", batch=2, training=training)


def test_damaged_files_by_name(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    names = tuple(f"{i}.png" for i in range(6))
    for name in names:
        Image.fromarray(pixels).save(tmp_path / name)
    whole = (tmp_path / "2.png").read_bytes()
    for damage in (b"", bytes(len(whole)), whole[: len(whole) // 2], b"<html>Not found</html>"):
        (tmp_path / "2.png").write_bytes(damage)
        source = Folder(tmp_path, names, np.zeros(6, dtype=np.int64))
        with pytest.raises(JobError, match=r"2\.png: \S+"):
            load(source, batch=6)
        (batch,) = load(source, batch=6, on_bad_image="skip")
        assert len(batch.bad) == 1 and "2.png" in batch.bad[0]
        assert sorted(batch.indices.tolist()) == [0, 1, 3, 3, 4, 5]


@dataclass(frozen=True)
class Slow(Numbers):
    """Records which process decodes."""

    folder: str = ""

    def sample(self, index: int) -> Sample:
        (Path(self.folder) / str(os.getpid())).touch()
        time.sleep(0.01)
        return super().sample(index)


def test_workers_outlive_the_signals_that_stop_a_run(tmp_path: Path) -> None:
    """On a signal to the process group, the process that saves still needs them."""
    stream = batches(Slow(64, folder=str(tmp_path)), NOISY, replace(LOADING, workers=2))
    received = [next(stream)]
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert workers and os.getpid() not in workers
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
        os.kill(worker, signal.SIGINT)
    received += stream
    assert equal(received, load(Numbers(64)))


def test_workers_end_with_an_unfinished_stream(tmp_path: Path) -> None:
    stream = batches(Slow(64, folder=str(tmp_path)), NOISY, replace(LOADING, workers=2))
    next(stream)
    del stream
    for worker in (int(path.name) for path in tmp_path.iterdir()):
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_source_and_prepare_can_be_pickled() -> None:
    """Needed where processes are not forked (macOS, Python 3.14)."""
    source = open_data("digits", minival=0.1).train
    task = task_of(resolve(recipe("resnet-rs"), network("resnet50@32")).recipe)
    prepare = task.prepare(32, training=True)
    unpickled = batches(*pickle.loads(pickle.dumps((source, prepare))), LOADING)
    assert equal([next(unpickled)], [next(batches(source, prepare, LOADING))])


def test_any_error_of_a_worker_comes_back_and_ends_them_all() -> None:
    """If it were raised in the worker, its traceback would keep the workers alive until the end."""

    def broken(image, rng):
        raise ValueError("seven")

    with pytest.raises(RuntimeError, match="ValueError: seven"):
        next(batches(Numbers(64), Classified(broken), replace(LOADING, workers=2)))
    with pytest.raises(ValueError, match="seven"):
        next(batches(Numbers(64), Classified(broken), LOADING))


LEAVES = """
import sys
from dataclasses import replace
from test_loading import LOADING, NOISY, Numbers, batches
stream = batches(Numbers(640), NOISY, replace(LOADING, workers=2))
print(next(stream).count, flush=True)
sys.exit(3)
"""


def test_a_process_that_leaves_a_stream_midway_ends() -> None:
    """At exit Python sends the remaining processes SIGTERM and waits for them."""
    process = subprocess.run(
        [sys.executable, "-c", LEAVES], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 3, process.stderr
    assert process.stdout == "8\n"


@dataclass(frozen=True)
class Dying(Numbers):
    """The process that loads image 20 is killed by a signal."""

    number: int = signal.SIGKILL

    def sample(self, index: int) -> Sample:
        if index == 20:
            os.kill(os.getpid(), self.number)
        return super().sample(index)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGKILL, "was killed, as the system does when memory is full; use fewer --workers"),
        (signal.SIGBUS, "shared memory is full; enlarge /dev/shm"),
    ],
)
def test_a_killed_worker_is_named_in_one_line_within_seconds(number: int, expected: str) -> None:
    """The system kills processes when memory is full, and by SIGBUS when shared memory is."""
    handler, began = signal.getsignal(signal.SIGCHLD), time.monotonic()
    stream = batches(Dying(64, number=number), NOISY, replace(LOADING, workers=2, training=False))
    with pytest.raises(LoadingFailed, match=r"^loading process \d+ .*") as caught:
        list(stream)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - began < 60  # seconds when the machine is idle
    assert not multiprocessing.active_children()
    assert signal.getsignal(signal.SIGCHLD) == handler  # torch's would raise in the midst of a step


def test_a_worker_killed_at_its_start_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has ended before it can be listed among the processes of the loader."""
    monkeypatch.setattr(multiprocessing, "active_children", list)
    stream = batches(Dying(64), NOISY, replace(LOADING, workers=1, training=False))
    with pytest.raises(LoadingFailed, match="a loading process ended at once"):
        list(stream)


def test_full_shared_memory_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    def full(tensor: torch.Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_8>: No space left (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(LoadingFailed, match=r"no shared memory left \(No space left \(28\)\); enlarge"):
        load(workers=2)
    assert capfd.readouterr().err == ""


def test_a_worker_without_memory_is_named_in_one_line() -> None:
    def full(image, rng):
        raise MemoryError

    with pytest.raises(LoadingFailed, match="no memory left; use fewer --workers"):
        next(batches(Numbers(64), Classified(full), replace(LOADING, workers=2)))


def test_workers_that_cannot_be_started_are_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(LoadingFailed, match="cannot be started \\(Resource temporarily unavailable\\)"):
        load(workers=2)


def test_verification_names_a_killed_worker() -> None:
    with pytest.raises(LoadingFailed, match="was killed"):
        list(check(Keyed(64), workers=2))


@dataclass(frozen=True)
class Keyed(Dying):
    def key(self, index: int) -> str:
        return str(index)
