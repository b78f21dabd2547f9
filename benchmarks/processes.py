"""How much faster does the real loop train in two processes than in one, on this machine, at the same batch?

On CPUs one process uses all cores and two share them, so at best the exchange of gradients costs little; on
GPUs each process has its own. A contender is torchrun running the loop: epochs alternate, and while one
contender trains the other waits. Images/s without loading: the batches are in memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import compare, finish
from ready import ready_loop

CASES = {"small": ("resnetrs26x0.25@32", 64), "large": ("resnetrs50@160", 16)}  # network, global batch
STEPS = {"small": 20, "large": 2}


class Contender:
    """torchrun with processes that train an epoch when a file appears, and write how long it took.

    torchrun gives its processes no standard input.
    """

    def __init__(self, folder: Path, processes: int, case: str) -> None:
        self.folder, self.epochs = folder, 0
        folder.mkdir()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", str(processes), __file__, "--serve", str(folder), "--case", case),
            ],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def epoch(self) -> float:
        """Seconds of one epoch in the first process."""
        self.epochs += 1
        (self.folder / f"go{self.epochs}").touch()
        answer = self.folder / f"took{self.epochs}"
        while not answer.is_file():
            if self.process.poll() is not None:
                sys.exit("a contender has ended")
            time.sleep(0.02)
        return json.loads(answer.read_text())

    def end(self) -> None:
        """End the processes."""
        (self.folder / "end").touch()
        self.process.wait()


def serve(folder: Path, case: str) -> None:
    """Run as one process of a contender."""
    from rescale import machine
    from rescale.data import open_data
    from rescale.lookup import network
    from rescale.processes import Status, join
    from rescale.recipes import recipe, resolve
    from rescale.training import Settings

    processes = join()
    name, batch = CASES[case]
    net, data = network(name), open_data("digits")
    net = net.with_classes(len(data.classes))
    chosen = resolve(
        recipe("resnet-rs", epochs=10**6, batch=batch, minival=0.0, keep_best=False, augment="none"),
        net,
        native_bf16=machine.native_bf16(machine.default_device()),
    )
    settings = Settings(machine.default_device(), processes.share_of_cores(), save_minutes=1e9)
    loop = ready_loop(folder / "run", net, chosen, data, settings, STEPS[case], processes)
    epoch = 0
    while True:
        epoch += 1
        while not (go := (folder / f"go{epoch}").is_file()) and not (folder / "end").is_file():
            time.sleep(0.005)
        if not go:
            return
        processes.synchronize(Status())
        began = time.perf_counter()
        loop.train_epoch(loop.position.step // loop.epoch_steps, 0)
        processes.synchronize(Status())
        if processes.first:
            answer = folder / f"took{epoch}"
            answer.with_suffix(".part").write_text(json.dumps(time.perf_counter() - began))
            answer.with_suffix(".part").replace(answer)


def measure(case: str, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Images/s of one and of two processes, alternating, after one warm-up epoch each."""
    contenders = {f"{n}": Contender(folder / f"{case}-{n}", n, case) for n in (2, 1)}
    images = CASES[case][1] * STEPS[case]
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, contender in contenders.items():
            seconds = contender.epoch()
            if round_:
                rates[name].append(images / seconds)
    for contender in contenders.values():
        contender.end()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small network alone, under 50 s")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, default="small", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.case)
        return
    import torch

    gpus = torch.cuda.device_count()
    ideal = 2 if gpus > 1 else 1  # of two processes against one: twice the GPUs, or the same cores
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in ["small"] if options.quick else list(CASES):
            rates = measure(case, 5 if options.quick else 12, Path(folder))
            # compare takes times: seconds per image
            seconds = {name: [1 / value for value in values] for name, values in rates.items()}
            result = compare(str(__doc__).split("\n", maxsplit=1)[0], seconds["2"], seconds["1"], "images/s")
            two, one = (round(statistics.median(rates[name]), 2) for name in ("2", "1"))
            results[case] = {**result, "ours": two, "peer": one}
            results[case]["efficiency"] = round(result["ratio"] / ideal, 3)
            print(f"{CASES[case][0]}, batch {CASES[case][1]}: 2 processes {two}, 1 process {one} images/s")
    last = results["small" if options.quick else "large"]
    rows = {CASES[case][0]: result | {"batch": CASES[case][1]} for case, result in results.items()}
    finish(last, processes=[2, 1], gpus=gpus, by_network=rows)


if __name__ == "__main__":
    main()
