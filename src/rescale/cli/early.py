"""Checks of arguments that need no torch; they come before its import, which takes seconds."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rescale.errors import UserError

if TYPE_CHECKING:
    from rescale.data import DataSpec
    from rescale.recipes import Recipe
    from rescale.studies import Plan


def check_all(*checks: Callable[[], object]) -> None:
    """Make all checks, then raise one UserError with every mistake."""
    mistakes: list[str] = []
    for check in checks:
        try:
            check()
        except UserError as error:
            mistakes += error.lines
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))


def check_model(name: str) -> None:
    """Check the name or file of one of this project's networks; external models need torch."""
    from rescale.lookup import is_external, network

    if not is_external(name):
        network(name)


def check_recipe(name: str, changes: Sequence[str] | None = None) -> "Recipe":
    """The recipe with the changes, its task's name and options and what it needs checked."""
    from rescale.recipes import check_installed, recipe, with_changes
    from rescale.tasks import check_task

    chosen = with_changes(recipe(name), changes or [])
    check_task(chosen)
    check_installed(chosen)
    return chosen


def check_data(data: "DataSpec | str | None") -> None:
    """Check that the data exists, if there is any."""
    from rescale.data import DataSpec

    if data:
        DataSpec.of(data).check_exists()


def check_run(path: Path) -> None:
    """Check that a folder is a run, or the beginning of one, which says more when it is opened."""
    from rescale.outputs import EXTERNAL_FILE, NETWORK_FILE, RUN_FILE

    check_folder(path)
    if not any((path / name).is_file() for name in (RUN_FILE, NETWORK_FILE, EXTERNAL_FILE)):
        raise UserError(f"{path}: no run is here (a run folder holds {RUN_FILE})")


def check_folder(path: Path) -> None:
    """Check that a folder exists."""
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")


def check_weights(text: str) -> None:
    """Check that starting weights exist; `pretrained` names no file, a TensorFlow checkpoint several."""
    path = Path(text)
    if text.startswith("pretrained") or path.exists():
        return
    if not (path.parent.is_dir() and any(p.name.startswith(f"{path.name}.") for p in path.parent.iterdir())):
        raise UserError(f"{text}: no such file or folder of weights")


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Check the value of an option that has few."""
    known = tuple(choices)
    if value not in known:
        raise UserError(f"{option} {value}: use {', '.join(known[:-1])} or {known[-1]}")


def check_ending(path: Path | None, *endings: str) -> None:
    """Check the ending of a file to be written, if there is one."""
    if path is not None and path.suffix.lower() not in endings:
        raise UserError(f"{path}: must end in {' or '.join(endings)}")


def check_plan(plan: "Plan") -> None:
    """Check the models, recipes and data of a study's plan."""
    models = dict.fromkeys(item.model for item in plan.items)
    recipes = dict.fromkeys((item.recipe, item.changes) for item in plan.items)
    data = dict.fromkeys(item.data for item in plan.items)
    check_all(
        *(partial(check_model, name) for name in models),
        *(partial(check_recipe, *pair) for pair in recipes),
        *(partial(check_data, text) for text in data),
    )
