"""Make the task that a recipe names."""

import importlib
import sys
from pathlib import Path
from typing import cast

from rescale.data import Data
from rescale.errors import UserError
from rescale.recipes import Recipe
from rescale.tasks.classification import Classification
from rescale.tasks.options import OWN, check_task
from rescale.tasks.task import Task


def task_of(recipe: Recipe, data: Data | None = None) -> Task:
    """The task of a resolved recipe.

    Args:
        recipe: its `task` names a built-in task or `python:module:factory`, whose factory is called with
            recipe and data and returns the task.
        data: the data of the run; None to time a model without data.

    Raises:
        UserError: an unknown task or option.
    """
    check_task(recipe)
    name = str(recipe.task["name"])
    if name.startswith(OWN):
        return _from_python(name, recipe, data)
    if data is None:
        return Classification(recipe)
    return Classification(recipe, data.classes, data.mean, data.std)


def _from_python(name: str, recipe: Recipe, data: Data | None) -> Task:
    module_name, _, factory = name.removeprefix(OWN).partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # a module beside the user, as `python -m` finds it
    try:
        create = getattr(importlib.import_module(module_name), factory)
    except (ImportError, AttributeError) as error:
        raise UserError(f"task {name}: {error}") from None
    return cast(Task, create(recipe, data))
