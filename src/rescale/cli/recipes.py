"""rescale recipes."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.models import Json

if TYPE_CHECKING:
    from rescale.recipes import Recipe


def recipes(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE [RECIPE]]", help="Names or YAML files.")
    ] = None,
    model: Annotated[str, typer.Option(help="Resolve the rules for this network.")] = "",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value; repeat for more."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes; show one, with its rules resolved for a model; or show the difference of two.

    Example: rescale recipes resnet-rs --model resnetrs152@256
    """
    from rescale.errors import UserError
    from rescale.recipes import recipe, with_changes

    chosen = [with_changes(recipe(name), changes or []) for name in names or []]
    if len(chosen) > 2:
        raise UserError(f"{len(chosen)} recipes given; give one to show it, or two for their difference")
    if not chosen:
        _list(as_json)
    elif len(chosen) == 1:
        _show(chosen[0], model, as_json)
    else:
        _difference(chosen[0], chosen[1], model, as_json)


def _list(as_json: bool) -> None:
    from rescale.recipes import NAMED

    if as_json:
        print(
            json.dumps(
                [{"name": n, "about": about, **r.model_dump()} for n, (r, about) in NAMED.items()], indent=1
            )
        )
        return
    for name, (_, about) in NAMED.items():
        print(f"{name:18s} {about}")
    print("\nOne in full, resolved for a network: rescale recipes resnet-rs --model resnetrs152@256")


def _show(chosen: "Recipe", model: str, as_json: bool) -> None:
    from rescale.recipes import MEANING

    chosen, sources, notes = _resolved(chosen, model)
    values = chosen.model_dump()
    if as_json:
        rows = [
            {"key": k, "value": v, "source": sources.get(k), "about": MEANING.get(k)}
            for k, v in values.items()
        ]
        print(json.dumps(rows, indent=1))
        return
    print(f"{chosen.name}" + (f" for {model}" if model else " (rules not resolved: give --model)") + "\n")
    for key, value in values.items():
        if key != "name":
            about = f"<- {sources[key]}" if key in sources else MEANING[key]
            print(f"{key:22s} {_text(value):16s} {about}")
    for note in notes:
        print(f"note: {note}")


def _difference(a: "Recipe", b: "Recipe", model: str, as_json: bool) -> None:
    from rescale.recipes import differences

    found = differences(_resolved(a, model)[0], _resolved(b, model)[0])
    if as_json:
        print(json.dumps([{"key": key, a.name: x, b.name: y} for key, (x, y) in found.items()], indent=1))
        return
    print(f"{'':22s} {a.name:24s} {b.name}")
    for key, (x, y) in found.items():
        print(f"{key:22s} {_text(x):24s} {_text(y)}")


def _resolved(chosen: "Recipe", model: str) -> "tuple[Recipe, dict[str, str], tuple[str, ...]]":
    if not model:
        return chosen, {}, ()
    from rescale import machine
    from rescale.models import model_named
    from rescale.recipes import resolve

    native = machine.native_bf16(machine.default_device())
    found = resolve(chosen, model_named(model), native_bf16=native)
    return found.recipe, found.sources, found.notes


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_text(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
