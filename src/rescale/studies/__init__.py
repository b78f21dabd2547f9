"""Studies: a plan of runs, a runner that runs what is missing, and pure analyses of the results."""

from typing import TYPE_CHECKING

from rescale.lazy import on_first_use

if TYPE_CHECKING:
    from rescale.studies.analysis import Speedup, aggregate, best_first, front, fronts, speedups
    from rescale.studies.checks import check
    from rescale.studies.folder import Failure, StudyFolder
    from rescale.studies.plan import Item, Plan, pareto_plan
    from rescale.studies.rows import Row
    from rescale.studies.runner import Settings, run_study

__getattr__ = on_first_use(  # a worker needs the plan alone, and a plan no torch
    __name__,
    {
        "rescale.studies.analysis": ("Speedup", "aggregate", "best_first", "front", "fronts", "speedups"),
        "rescale.studies.checks": ("check",),
        "rescale.studies.folder": ("Failure", "StudyFolder"),
        "rescale.studies.plan": ("Item", "Plan", "pareto_plan"),
        "rescale.studies.rows": ("Row",),
        "rescale.studies.runner": ("Settings", "run_study"),
    },
)

__all__ = [
    "Failure",
    "Item",
    "Plan",
    "Row",
    "Settings",
    "Speedup",
    "StudyFolder",
    "aggregate",
    "best_first",
    "check",
    "front",
    "fronts",
    "pareto_plan",
    "run_study",
    "speedups",
]
