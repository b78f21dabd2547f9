"""Studies: a plan of runs, a runner that runs what is missing, and pure analyses of the results."""

from typing import TYPE_CHECKING

from rescale.imports import on_first_use

if TYPE_CHECKING:
    from rescale.studies.analysis import (
        Speedup,
        aggregate,
        best_first,
        front,
        fronts,
        point,
        speedups,
        values_by_seed,
    )
    from rescale.studies.checks import check
    from rescale.studies.differences import Difference, against_best, paired_differences, smallest_visible
    from rescale.studies.executors.executor import Settings
    from rescale.studies.folder import Failure, StudyFolder
    from rescale.studies.plan import Item, Plan, pareto_plan, short_names
    from rescale.studies.rows import Row
    from rescale.studies.runner import run_study
    from rescale.studies.seeds import outlook

__getattr__ = on_first_use(  # a worker needs the plan alone, and a plan no torch
    __name__,
    {
        "rescale.studies.analysis": (
            "Speedup",
            "aggregate",
            "best_first",
            "front",
            "fronts",
            "point",
            "speedups",
            "values_by_seed",
        ),
        "rescale.studies.checks": ("check",),
        "rescale.studies.differences": (
            "Difference",
            "against_best",
            "paired_differences",
            "smallest_visible",
        ),
        "rescale.studies.executors.executor": ("Settings",),
        "rescale.studies.folder": ("Failure", "StudyFolder"),
        "rescale.studies.plan": ("Item", "Plan", "pareto_plan", "short_names"),
        "rescale.studies.rows": ("Row",),
        "rescale.studies.runner": ("run_study",),
        "rescale.studies.seeds": ("outlook",),
    },
)

__all__ = [
    "Difference",
    "Failure",
    "Item",
    "Plan",
    "Row",
    "Settings",
    "Speedup",
    "StudyFolder",
    "against_best",
    "aggregate",
    "best_first",
    "check",
    "front",
    "fronts",
    "outlook",
    "paired_differences",
    "pareto_plan",
    "point",
    "run_study",
    "short_names",
    "smallest_visible",
    "speedups",
    "values_by_seed",
]
