"""Does the training loop cost at most a tenth more than a bare loop that does the same work?

The work: forward, backward, update, weight average and top-1 of a tiny network on batches in memory. Ours is
`TrainingLoop.train_epoch`, with its seeds, checks, metrics, TensorBoard events and signals; the bare loop is
written by hand. Epochs alternate in one process.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from harness import compare, finish
from ready import ready_loop
from rescale import machine
from rescale.data import open_data
from rescale.lookup import network
from rescale.models import Rates, make
from rescale.optim.optimizers import make_optimizer
from rescale.recipes import Recipe, recipe, resolve
from rescale.training import Settings
from rescale.training.loop import TrainingLoop

NETWORK, BATCH, THREADS = "resnetrs26x0.125@32", 32, 1


def begin(folder: Path, steps: int) -> TrainingLoop:
    """The real loop at the start of a run on digits."""
    net, data = network(NETWORK), open_data("digits")
    net = net.with_classes(len(data.classes))
    chosen = resolve(recipe("resnet-rs", epochs=10_000, batch=BATCH, minival=0.0, keep_best=False), net)
    settings = Settings(threads=THREADS, save_minutes=1e9, log_steps=max(1, steps // 10))
    return ready_loop(folder, net, chosen, data, settings, steps)


def bare_loop(loop: TrainingLoop) -> Callable[[], None]:
    """A hand-written loop with the same network, optimizer and weight average."""
    chosen: Recipe = loop.recipe
    model, _ = make(loop.described, Rates(chosen.dropout, bn_momentum=chosen.bn_momentum))  # type: ignore[arg-type]
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, chosen)
    live = [t.detach() for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    average = [t.clone() for t in live]
    mean = torch.tensor(loop.data.mean).view(1, 3, 1, 1) * 255
    std = torch.tensor(loop.data.std).view(1, 3, 1, 1) * 255
    enabled = chosen.precision == "bf16"

    def epoch() -> None:
        loss_sum, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for batch in loop.feed.ready:  # type: ignore[attr-defined]
            images = ((batch.tensors["images"] - mean) / std).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                logits = model(images).float()
            loss = F.cross_entropy(logits, batch.tensors["labels"], label_smoothing=chosen.label_smoothing)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            torch._foreach_lerp_(average, live, 1 - chosen.ema)
            loss_sum += loss.detach()
            correct += (logits.argmax(1) == batch.tensors["labels"]).sum()
        float(loss_sum), int(correct)

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few epochs, under 50 s")
    options = parser.parse_args()
    steps, rounds = (20, 5) if options.quick else (40, 30)
    machine.keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        loop = begin(Path(folder) / "run", steps)
        bare = bare_loop(loop)

        def real() -> None:
            loop.train_epoch(loop.position.step // loop.epoch_steps, 0)

        seconds: dict[str, list[float]] = {"ours": [], "bare": []}
        for round_ in range(rounds + 1):
            for name, epoch in (("ours", real), ("bare", bare)):
                began = time.perf_counter()
                epoch()
                if round_:  # the first round is the warm-up
                    seconds[name].append(1000 * (time.perf_counter() - began) / loop.epoch_steps)
        loop.close()
    question = str(__doc__).split("\n", maxsplit=1)[0]
    result = compare(question, seconds["ours"], seconds["bare"], "ms a step")
    print(f"{NETWORK}, batch {BATCH}: ours {result['ours']:.2f} ms a step, bare {result['peer']:.2f} ms")
    finish(result, network=NETWORK, batch=BATCH, threads=THREADS, precision=loop.recipe.precision)


if __name__ == "__main__":
    main()
