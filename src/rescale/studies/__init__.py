"""Studies: a plan of runs, a runner that runs what is missing, and pure analyses of what came out."""

from rescale.studies.analysis import Row, Speedup, aggregate, front, fronts, speedups
from rescale.studies.check import check
from rescale.studies.folder import Failure, StudyFolder
from rescale.studies.plan import Item, Plan, pareto_plan
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
    "check",
    "front",
    "fronts",
    "pareto_plan",
    "run_study",
    "speedups",
]
