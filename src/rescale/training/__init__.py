"""The loop, its run folders, checkpoints, exact resume and evaluation."""

from rescale.processes import is_first_process
from rescale.training.begin import check_batch, check_parts, resume, train
from rescale.training.judge import evaluate_folder, recipe_for
from rescale.training.run import Run, Settings

__all__ = [
    "Run",
    "Settings",
    "check_batch",
    "check_parts",
    "evaluate_folder",
    "is_first_process",
    "recipe_for",
    "resume",
    "train",
]
