"""rescale recipes."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.models import Json
from rescale.layout import wrapped

if TYPE_CHECKING:
    from rescale.recipes import Recipe, Resolved


def recipes(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE [RECIPE]]", help="Names or YAML files.")
    ] = None,
    model: Annotated[str, typer.Option(help="Resolve the rules for this network.")] = "",
    images: Annotated[
        int,
        typer.Option(min=0, help="Training images, to convert the steps of a recipe to epochs; 0: unknown."),
    ] = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value; repeat for more."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes; show one, with --model resolved for a network; or compare two.

    Example: rescale recipes resnet-rs --model resnetrs152@256
    """
    from rescale.cli.early import check_model
    from rescale.errors import UserError
    from rescale.recipes import recipe, with_changes

    names = names or []
    if len(names) > 2:
        raise UserError(f"{len(names)} recipes: give one to show it, or two to compare them")
    if images and not model:
        raise UserError(
            "--images needs a network: rescale recipes finetune --model resnet152@256 --images 50000"
        )
    if not names and (model or changes):
        raise UserError("--model and --set need a recipe: rescale recipes resnet-rs --model resnetrs152@256")
    chosen = [with_changes(recipe(name), changes or []) for name in names]
    if model:
        check_model(model)
    if not chosen:
        _list(as_json)
    elif len(chosen) == 1:
        _show(chosen[0], model, images, as_json)
    else:
        _difference(chosen, names, model, images, as_json)


def _list(as_json: bool) -> None:
    from rescale.recipes import NAMED

    if as_json:
        rows = [{"name": name, "about": n.about, **n.recipe.model_dump()} for name, n in NAMED.items()]
        print(json.dumps(rows, indent=1))
        return
    for name, named in NAMED.items():
        print(_row(name, named.about, columns=(16,)))
    print("\nTo show one in full, resolved for a network:")
    print("  rescale recipes resnet-rs --model resnetrs152@256")


def _show(chosen: "Recipe", model: str, images: int, as_json: bool) -> None:
    from rescale.recipes import MEANING, Resolved
    from rescale.recipes.named import origins
    from rescale.recipes.rules import OWN

    shown = _resolved(chosen, model, images) if model else Resolved(chosen, origins(chosen))
    values, sources = shown.recipe.model_dump(exclude={"name"}), shown.sources
    if as_json:
        rows = [{"key": key, "value": value, "source": sources.get(key)} for key, value in values.items()]
        print(json.dumps([row | {"about": MEANING[row["key"]]} for row in rows], indent=1))
        return
    print(f"{chosen.name} for {model}\n" if model else f"{chosen.name}; --model NAME resolves its rules\n")
    for key, value in values.items():
        why = f"<- {sources[key]}" if key in sources else MEANING[key]
        print(_row(key, _text(value), why, columns=(22, 20)))
    if any(source.startswith(OWN) for source in sources.values()):
        print(f"\n{OWN.strip(': ')}: values of this project, where the papers give none")
    for note in shown.notes:
        print(_row("note:", note, columns=(6,)))


def _difference(chosen: "list[Recipe]", names: list[str], model: str, images: int, as_json: bool) -> None:
    from rescale.recipes import differences

    first, second = [_resolved(each, model, images).recipe if model else each for each in chosen]
    differing = differences(first, second)
    a, b = names
    if as_json:
        print(json.dumps([{"key": key, a: x, b: y} for key, (x, y) in differing.items()], indent=1))
        return
    print(_row("", a, b, columns=(22, 28)))
    for key, (x, y) in differing.items():
        print(_row(key, _text(x), _text(y), columns=(22, 28)))
    if not differing:
        print("no difference")


def _resolved(chosen: "Recipe", model: str, images: int) -> "Resolved":
    from rescale import machine
    from rescale.models import model_named
    from rescale.recipes import resolve

    native = machine.native_bf16(machine.default_device())
    return resolve(chosen, model_named(model), images or None, native_bf16=native)


def _row(*cells: str, columns: tuple[int, ...]) -> str:
    """One line of a table; the last cell is broken to fit the terminal."""
    *first, last = cells
    head = "".join(f"{cell:{width}s}" for cell, width in zip(first, columns, strict=True))
    indent = " " * sum(columns)
    if len(head) > len(indent):  # a cell is wider than its column: put the last one on the next line
        return f"{head.rstrip()}\n" + wrapped(last, indent, first=indent)
    return wrapped(last, indent, first=head)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{each:.3g}" for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(option)}" for name, option in value.items())
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
