"""Write tests/golden/rates.json: learning rates of the named recipes as the first version gave them.

Run once, with that version (commit f8dfc49), before a length in steps was possible. test_schedule.py holds
later versions to them.

    git worktree add /tmp/first f8dfc49
    PYTHONPATH=/tmp/first/src python scripts/make_golden_rates.py tests/golden
"""

import json
import sys
from pathlib import Path

from rescale.recipes.schedule import learning_rate  # where the first version had it

from rescale.families import network
from rescale.recipes import NAMED, resolve

MODEL, PLACES = "resnetrs50@160", 24  # steps of a run, evenly spread


def main(folder: Path) -> None:
    """One list of rates a recipe, way of stepping and number of steps an epoch."""
    rates = {}
    for name in NAMED:
        for by in ("step", "epoch"):
            for steps_per_epoch in (7, 312):
                chosen = NAMED[name].recipe.model_copy(update={"schedule_by": by})
                resolved = resolve(chosen, network(MODEL)).recipe
                total = resolved.epochs * steps_per_epoch
                rates[f"{name}, {by}, {steps_per_epoch}"] = {
                    str(step): learning_rate(resolved, step, steps_per_epoch)
                    for step in range(0, total, total // PLACES)
                }
    (folder / "rates.json").write_text(json.dumps(rates, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
