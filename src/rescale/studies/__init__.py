"""Studies: a plan of runs, a runner that runs what is missing, and pure analyses of the results."""

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
from rescale.studies.check import check
from rescale.studies.differences import Difference, against_best, paired_differences, smallest_visible
from rescale.studies.folder import Failure, StudyFolder
from rescale.studies.outlook import outlook
from rescale.studies.plan import Item, Plan, pareto_plan, short_names
from rescale.studies.rows import Row
from rescale.studies.runner import Settings, run_study

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
