"""One training run of a study in its own process: python -m rescale.studies.worker JSON."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from rescale.errors import JobError, UserError
from rescale.imports import faster_imports
from rescale.parent import end_with
from rescale.studies.plan import Item


def work(job: dict[str, Any]) -> None:
    """Train a run, or resume it if its folder already holds a run."""
    with faster_imports():
        from rescale.data import DataSpec
        from rescale.files import LOCK, locked
        from rescale.models.start import model_to_train
        from rescale.outputs import RUN_FILE
        from rescale.recipes import recipe, with_changes
        from rescale.training import Settings, resume, train

    item, out = Item(**job["item"]), Path(job["out"])
    if (out / RUN_FILE).is_file():
        resume(out)
        return
    if out.is_dir():  # a training that was killed before the folder became a run, or one that is creating it
        with locked(out):
            for path in out.iterdir() if not (out / RUN_FILE).exists() else ():
                if path.name != LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    changed = with_changes(recipe(item.recipe), item.changes)
    settings = Settings(**job["settings"])
    model, data = model_to_train(item.model, job["weights"]), DataSpec.of(item.data)
    train(model, changed, data, out, seed=item.seed, settings=settings, weights=job["weights"])


def main() -> None:
    """Exit code 2: the user's mistake; 1: the job failed; STOPPED: saved on request; BUSY. Prints why."""
    job = json.loads(sys.argv[1])
    end_with(job["parent"])
    with faster_imports():
        from rescale.files import Locked
        from rescale.outputs import RUN_FILE
        from rescale.training.feed import Stopped
        from rescale.training.stop import BUSY, STOPPED

    run_file = Path(job["out"]) / RUN_FILE
    was_run = run_file.is_file()
    try:
        work(job)
    except UserError as error:
        print("; ".join(error.lines), file=sys.stderr)
        is_new = not was_run and run_file.is_file()  # created by another process at the same time
        sys.exit(BUSY if isinstance(error, Locked) or is_new else 2)
    except Stopped as error:
        print(error, file=sys.stderr)
        sys.exit(STOPPED)
    except JobError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
