"""The loop, its run folders, checkpoints and exact resume."""

from rescale.training.begin import check_batch, evaluate_run, resume, train
from rescale.training.processes import is_first_process
from rescale.training.run import Run, Settings

__all__ = ["Run", "Settings", "check_batch", "evaluate_run", "is_first_process", "resume", "train"]
