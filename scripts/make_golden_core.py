"""Write tests/golden/core.json and tests/golden/format-1: what the first version's core gave.

Run once, with that version (commit f8dfc49), before the core was generalised: identities of networks and
runs, the first batch of an epoch, and a small run and study in format 1. test_stability.py holds later
versions to them.

    git worktree add /tmp/first f8dfc49
    PYTHONPATH=/tmp/first/src python scripts/make_golden_core.py tests/golden
"""

import hashlib
import json
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch

import rescale
from rescale import machine
from rescale.data import batches, open_data
from rescale.data.augment import train_transform
from rescale.lookup import names
from rescale.models import model_named
from rescale.recipes import NAMED, recipe, resolve
from rescale.studies import Settings as StudySettings
from rescale.studies import StudyFolder, pareto_plan
from rescale.studies.runner import run_study
from rescale.training import Run, Settings, resume, train
from rescale.training.begin import identity
from rescale.training.loop import Job

NET = "resnetrs1-1x0.0625+smallstem@8"
MODELS = ("resnetrs50@160", "resnetrs420", "resnet50x0.25@224", "efficientnet_b0", "timm:resnet10t@32")


def main(folder: Path) -> None:
    """Write everything below the folder."""
    data = open_data("digits")
    found = {
        "networks": {name: rescale.network(name).identity for name in names()},
        "digits": data.digest,
        "runs": {
            f"{name}, {model}, {native}": identity(
                model_named(model).with_classes(10), without_rules(name, model, native), data, 3
            )
            for name in NAMED
            for model in MODELS
            for native in (False, True)
        },
        "batches": {name: first_batch(name, data) for name in NAMED},
    }
    out = folder / "format-1"
    shutil.rmtree(out, ignore_errors=True)
    unfinished(out / "unfinished")
    shutil.copytree(out / "unfinished", out / "finished")
    resume(out / "finished", quiet=True)
    found["finished"] = {
        "weights": hashlib.sha256((out / "finished" / "model.safetensors").read_bytes()).hexdigest(),
        "machine": here(),
    }
    study(out / "study")
    for run in [out / "finished", *(out / "study" / "runs").iterdir()]:
        shutil.rmtree(run / "checkpoints")
    for run in [*out.glob("*finished"), *(out / "study" / "runs").iterdir()]:
        shutil.rmtree(run / "tensorboard")
        (run / ".lock").unlink(missing_ok=True)
    (folder / "core.json").write_text(json.dumps(found, indent=1) + "\n")


def here() -> list[str]:
    """What the last bits of a training depend on."""
    flags = hashlib.sha256(" ".join(sorted(machine._cpu()["flags"])).encode()).hexdigest()[:16]
    return [machine._cpu()["name"], flags, torch.__version__, platform.python_version()]


def without_rules(name: str, model: str, native: bool):
    """The recipe in numbers, at batch 512 so that no later rule for small batches speaks, 350 epochs."""
    chosen = NAMED[name].recipe.model_copy(update={"epochs": 350, "batch": 512})
    return resolve(chosen, model_named(model), native_bf16=native).recipe


def first_batch(name: str, data) -> str:
    """A hash of the first batch of epoch 2 at 32 pixels."""
    chosen = resolve(recipe(name), model_named("resnetrs50@32")).recipe
    batch = next(batches(data.train, train_transform(chosen, 32), batch=16, seed=5, epoch=2))
    digest = hashlib.sha256(batch.images.contiguous().numpy().tobytes())
    for tensor in (batch.labels, batch.indices):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def unfinished(out: Path) -> None:
    """A run of two epochs, left in the middle of the second."""
    original = Job.save_if_due

    def leave(self: Job) -> None:
        original(self)
        if self.at.step == 8:
            raise KeyboardInterrupt

    Job.save_if_due = leave
    chosen = recipe(
        "resnet-rs", epochs=2, batch=256, accumulate=2, flip=0.0, precision="fp32", dropout=0.2, mixup=0.2
    )
    settings = Settings(save_minutes=0.0, threads=1, log_steps=2)
    try:
        train(rescale.network(NET), chosen, "digits", out, seed=3, settings=settings, quiet=True)
    except KeyboardInterrupt:
        pass
    finally:
        Job.save_if_due = original
    first, *others = sorted((out / "checkpoints").glob("step-*"), reverse=True)
    for other in others:
        shutil.rmtree(other)
    assert first.name == "step-00000008" and Run.open(out).result is None


def study(out: Path) -> None:
    """Two networks for one epoch."""
    plan = pareto_plan(
        [NET, "resnet1-1x0.0625+smallstem@8"],
        ["resnet-rs"],
        "digits",
        changes=["epochs=1", "batch=256", "precision=fp32", "flip=0"],
        timing=replace(pareto_plan([NET], ["resnet-rs"], "digits").timing, repeats=3, batch=4),
    )
    run_study(out, plan, StudySettings(1, "cpu"), progress=False)
    shutil.rmtree(out / "logs")
    (out / ".lock").unlink()
    assert len(StudyFolder(out).results()) == 2


if __name__ == "__main__":
    main(Path(sys.argv[1]))
