"""Names and options of tasks, without torch, so that mistakes are reported before anything is loaded."""

from dataclasses import dataclass, fields

from rescale.errors import UserError, nearest
from rescale.recipes import Recipe

OWN = "python:"  # prefix of the names of tasks that are not built in


@dataclass(frozen=True)
class ClassificationOptions:
    """Classification has no options: its regularizers are fields of every recipe."""


BUILT_IN = {"classification": ClassificationOptions}


def check_task(recipe: Recipe) -> None:
    """Raise UserError for an unknown task or option. A task in Python checks its own options."""
    name = str(recipe.task.get("name", ""))
    if name.startswith(OWN):
        if len(name.removeprefix(OWN).split(":")) != 2:
            raise UserError(f"task {name}: write python:package.module:factory")
        return
    if name not in BUILT_IN:
        raise UserError(f"no task is named {name!r}; {nearest(name, BUILT_IN)}, or python:module:factory")
    known = [field.name for field in fields(BUILT_IN[name])]
    unknown = [option for option in recipe.task if option not in ("name", *known)]
    if unknown:
        hint = nearest(unknown[0], known, kind="options") if known else "it has no options"
        raise UserError(*(f"--set task.{option}: {name} has no such option; {hint}" for option in unknown))
