"""Where does the time of a training image go, stage by stage?

The functions of the input pipeline are timed inside the running pipeline, on one core, on the images and by
the recipe of `pipeline.py`. A stage's time excludes the stages that it calls. The timing itself adds about a
microsecond per call.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from harness import Step, finish, use_one_core
from pipeline import jpegs, ours


class Stages:
    """Seconds and calls by stage; a stage's time excludes the stages that it calls."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._running: list[float] = []  # seconds of the inner stages of each stage that is running

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to the stage."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._running.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - start
                self.seconds[stage] += seconds - self._running.pop()
                self.calls[stage] += 1
                if self._running:
                    self._running[-1] += seconds

        return call

    def watch(self, owner: Any, name: str, stage: str) -> None:
        """Time a function or method that the pipeline looks up by name."""
        setattr(owner, name, self.timed(stage, getattr(owner, name)))


def watched() -> Stages:
    """The pipeline's functions, replaced by timed ones."""
    from pathlib import Path

    import simplejpeg

    from rescale.data import loading
    from rescale.data.augment import levels, pipeline, view
    from rescale.data.draw import Draw
    from rescale.tasks.classification import Classification

    stages = Stages()
    stages.watch(Path, "read_bytes", "read the file")
    stages.watch(simplejpeg, "decode_jpeg_header", "read the JPEG header")
    stages.watch(simplejpeg, "decode_jpeg", "decode the rows of the crop")
    stages.watch(pipeline, "training_view", "draw crop and mirror")
    stages.watch(Draw, "rng", "make the image's generator")
    stages.watch(view, "resized", "crop and resize")
    stages.watch(view, "mirrored", "mirror half of the images")
    stages.watch(loading, "_stacked", "stack the batch")
    stages.watch(Classification, "inputs", "normalise")
    for operation in levels.NAMES:
        levels.OPERATIONS[operation] = stages.timed(f"RandAugment: {operation}", levels.OPERATIONS[operation])
    return stages


def measured(step: Step, stages: Stages, rounds: int) -> tuple[Counter[str], Counter[str]]:
    """Seconds and calls of each stage in all rounds; `whole` is their total time, `rest` in no stage."""
    step()  # fills the caches
    stages.seconds.clear()
    stages.calls.clear()
    start = time.perf_counter()
    for _ in range(rounds):
        step()
    whole = time.perf_counter() - start
    seconds = stages.seconds + Counter({"rest": whole - stages.seconds.total()})
    return seconds + Counter({"whole": whole}), stages.calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images and rounds, under 50 s")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    images, batch = (32, 32) if options.quick else (128, 64)
    rounds = options.rounds or (3 if options.quick else 30)
    use_one_core()
    step = ours(jpegs(images), images, batch, 224, small=False)
    seconds, calls = measured(step, watched(), rounds)
    per_image = {stage: 1000 * value / rounds / images for stage, value in seconds.most_common()}
    for stage, milliseconds in per_image.items():
        share = calls[stage] / rounds / images
        per_call = f"   {milliseconds / share:.3f} ms per call" if 0 < share < 0.9 else ""
        print(f"{stage:35s} {milliseconds:7.3f} ms per image{per_call}")
    question = str(__doc__).split("\n", maxsplit=1)[0]
    finish({"question": question, "ms_per_image": per_image}, images=images, batch=batch, rounds=rounds)


if __name__ == "__main__":
    main()
