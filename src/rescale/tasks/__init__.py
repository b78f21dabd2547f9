"""Tasks: everything that is particular to what a model learns."""

from rescale.tasks.create import task_of
from rescale.tasks.options import check_task
from rescale.tasks.task import Evaluator, Losses, Task

__all__ = ["Evaluator", "Losses", "Task", "check_task", "task_of"]
