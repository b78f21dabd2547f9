"""Studies: a plan of runs, a runner that runs what is missing, and pure analyses of the results."""

from rescale.studies.analysis import Speedup, aggregate, best_first, front, fronts, speedups
from rescale.studies.check import check
from rescale.studies.folder import Failure, StudyFolder
from rescale.studies.plan import Item, Plan, pareto_plan
from rescale.studies.rows import Row
from rescale.studies.runner import Settings, run_study

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
