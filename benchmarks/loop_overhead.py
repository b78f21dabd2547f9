"""Does the training loop cost at most a tenth more than a bare loop that does the same work?

The work: forward, backward, update, average, top-1 of a tiny network on batches that lie ready. Ours is
`Job.train_epoch`, with its seeds, checks, metrics, TensorBoard mirror and signals; the bare loop is what
one would write by hand. Epochs alternate in one process.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from harness import compare, finish
from rescale import machine
from rescale.data import Batch, open_data
from rescale.lookup import network
from rescale.models import Rates, make
from rescale.optim.optimizers import make_optimizer
from rescale.recipes import Recipe, recipe, resolve
from rescale.training import Run, Settings
from rescale.training.loop import Job
from rescale.training.stop import StopRequest

NETWORK, BATCH, THREADS = "resnetrs26x0.125@32", 32, 1


class Fed(Job):
    """The loop as it is, its batches lying ready."""

    ready: list[Batch]

    def load(self, *_: Any, **__: Any) -> Iterator[Batch]:
        return iter(self.ready)


def begin(folder: Path, steps: int) -> Fed:
    """A run of the real loop that has just begun, and some batches of digits."""
    net, data = network(NETWORK), open_data("digits")
    net = net.with_classes(len(data.classes))
    chosen = resolve(recipe("resnet-rs", epochs=10_000, batch=BATCH, minival=0.0, keep_best=False), net)
    settings = Settings(threads=THREADS, save_minutes=1e9)
    facts = {"seed": 0, "settings": asdict(settings), "data": data.spec, "notes": []}
    job = Fed(Run.create(folder, net, chosen, data.manifest(), facts), data, StopRequest(), quiet=True)
    job.ready = list(Job.load(job, data.train, 0))[:steps]
    job.steps = job.stepper.steps_per_epoch = len(job.ready)
    job.log_steps = max(1, len(job.ready) // 10)
    job.start()
    return job


def bare_loop(job: Fed) -> Callable[[], None]:
    """The same network, optimizer and average by hand."""
    chosen: Recipe = job.recipe
    model, _ = make(job.described, Rates(chosen.dropout, bn_momentum=chosen.bn_momentum))  # type: ignore[arg-type]
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, chosen)
    live = [t.detach() for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    average = [t.clone() for t in live]
    mean = torch.tensor(job.data.mean).view(1, 3, 1, 1) * 255
    std = torch.tensor(job.data.std).view(1, 3, 1, 1) * 255
    enabled = chosen.precision == "bf16"

    def epoch() -> None:
        loss_sum, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for batch in job.ready:
            images = ((batch.images - mean) / std).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                logits = model(images).float()
            loss = F.cross_entropy(logits, batch.labels, label_smoothing=chosen.label_smoothing)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            torch._foreach_lerp_(average, live, 1 - chosen.ema)
            loss_sum += loss.detach()
            correct += (logits.argmax(1) == batch.labels).sum()
        float(loss_sum), int(correct)

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few epochs, under 50 s")
    asked = parser.parse_args()
    steps, rounds = (20, 5) if asked.quick else (40, 30)
    machine.keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        job = begin(Path(folder) / "run", steps)
        bare = bare_loop(job)

        def real() -> None:
            job.train_epoch(job.at.step // job.steps, 0)

        seconds: dict[str, list[float]] = {"ours": [], "bare": []}
        for round_ in range(rounds + 1):
            for name, epoch in (("ours", real), ("bare", bare)):
                began = time.perf_counter()
                epoch()
                if round_:  # the first is warm-up
                    seconds[name].append(1000 * (time.perf_counter() - began) / len(job.ready))
        job.close()
    question = str(__doc__).split("\n", maxsplit=1)[0]
    result = compare(question, seconds["ours"], seconds["bare"], "ms a step")
    print(f"{NETWORK}, batch {BATCH}: ours {result['ours']:.2f} ms a step, bare {result['peer']:.2f} ms")
    finish(result, network=NETWORK, batch=BATCH, threads=THREADS, precision=job.recipe.precision)


if __name__ == "__main__":
    main()
