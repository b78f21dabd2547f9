"""Started by test_processes.py with torchrun: trainings in one launch, each in its own folder.

The error of a training is written to NAME.RANK.txt beside the folders.
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

import rescale
from rescale.errors import JobError, UserError
from rescale.recipes import recipe
from rescale.tasks.classification import Classification
from rescale.training import Run, Settings, train

RANK = int(os.environ.get("RANK", "0"))
NET = "resnetrs1-1x0.125+smallstem@8"
PLAIN = {
    "epochs": 2,
    "batch": 256,
    "flip": 0.0,
    "precision": "fp32",
    "dropout": 0.0,
    "stochastic_depth": 0.0,
    "augment": "randaugment",  # a run of two epochs would have neither this nor label smoothing
    "label_smoothing": 0.1,
}
CUT = PLAIN | {"epochs": 4, "batch": 64, "accumulate": 2, "dropout": 0.3, "mixup": 0.2}


def begin(out: Path, data: str = "digits", settings: Settings | None = None, **changes) -> Run:
    settings = settings or Settings(threads=1, log_steps=1)
    net, chosen = rescale.network(NET), recipe("resnet-rs", **(PLAIN | changes))
    return train(net, chosen, data, out, settings=settings, quiet=True)


@contextmanager
def replaced(place: object, name: str, by: object) -> Iterator[None]:
    before = getattr(place, name)
    setattr(place, name, by)
    try:
        yield
    finally:
        setattr(place, name, before)


def frozen():
    """Batch norm uses its running statistics in training too."""
    return replaced(nn.BatchNorm2d, "train", lambda self, mode=True: nn.Module.train(self, False))


def drawn():
    """Norms start with random scales: a block whose last scale starts at 0 has no gradients inside."""
    original = Classification.model

    def model(self, *args):
        module, missed = original(self, *args)
        generator = torch.Generator().manual_seed(1)
        for norm in [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]:
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        return module, missed

    return replaced(Classification, "model", model)


def wrong_share():
    """Every process takes the share of the first one."""
    original = Classification.stream

    def stream(self, source, resolution, loading):
        return original(self, source, resolution, dataclasses.replace(loading, share=(0, loading.share[1])))

    return replaced(Classification, "stream", stream)


def nan_at(call: int, rank: int):
    """The loss of one process is NaN in call number `call`."""
    original, calls = Classification.losses, []

    def losses(self, model, batch, seed, processes):
        result = original(self, model, batch, seed, processes)
        calls.append(1)
        if len(calls) == call and rank == RANK:
            result = result._replace(loss=result.loss * float("nan"))
        return result

    return replaced(Classification, "losses", losses)


def failing_log():
    """The first process cannot write its second row of metrics."""
    original, rows = Run.log, []

    def log(self, row):
        rows.append(row)
        if len(rows) == 2:
            raise JobError("the disk is full")
        original(self, row)

    return replaced(Run, "log", log)


def main(folder: Path, images: str) -> None:
    def attempt(name: str, do: Callable[[], object]) -> None:
        try:
            do()
        except (UserError, JobError) as error:
            (folder / f"{name}.{RANK}.txt").write_text(f"{type(error).__name__}: {error}")

    with frozen():
        for parts in (1, 2):
            begin(folder / f"frozen-{parts}", accumulate=parts)
        with wrong_share():
            begin(folder / "wrong")
    with drawn():
        begin(folder / "synced", settings=Settings(threads=1, log_steps=1, sync_bn=True))
    begin(folder / "own", ema=0.9)
    begin(folder / "cut-whole", settings=Settings(threads=1), **CUT)
    skipping = Settings(threads=1, on_bad_image="skip")
    attempt("skip", lambda: begin(folder / "skip", images, skipping, batch=16, epochs=2))
    attempt("raise", lambda: begin(folder / "raise", images, batch=16))
    attempt("batch", lambda: begin(folder / "batch", batch=255))
    attempt("taken", lambda: begin(folder / "own"))
    with nan_at(5, rank=1):  # step 3: the first call is the rehearsal
        attempt("nan", lambda: begin(folder / "nan"))
    with failing_log():
        attempt("log", lambda: begin(folder / "log"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
