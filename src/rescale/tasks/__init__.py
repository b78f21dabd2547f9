"""Tasks: everything that is particular to what a model learns."""

from typing import TYPE_CHECKING

from rescale.imports import on_first_use

if TYPE_CHECKING:
    from rescale.tasks.create import task_of
    from rescale.tasks.options import check_task
    from rescale.tasks.task import Evaluator, Losses, Task

__getattr__ = on_first_use(  # names and options of tasks need no torch
    __name__,
    {
        "rescale.tasks.create": ("task_of",),
        "rescale.tasks.options": ("check_task",),
        "rescale.tasks.task": ("Evaluator", "Losses", "Task"),
    },
)

__all__ = ["Evaluator", "Losses", "Task", "check_task", "task_of"]
