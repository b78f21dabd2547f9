"""rescale show: draw a network, or two side by side."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.models import Json, cost_row, network_names

if TYPE_CHECKING:
    from rescale.network import Network


def show(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME [NAME2]", help="Names or network files.", autocompletion=network_names),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write a drawing: FILE.svg or FILE.png.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show stages, shapes and the cost of each part; compare two networks.

    Example: rescale show regnety_500mf regnety_500mf_16gf -o both.svg
    """
    networks = _networks(names)
    if out is not None:
        from rescale.report import picture

        picture.draw(networks, out)
    if as_json:
        print(json.dumps([described(network) for network in networks], indent=1))
        return
    from rescale.report import picture

    print(picture.text(networks, plain=not _can_print("█…")))
    if out is not None:
        print(f"\nwritten: {out}")


def described(network: "Network") -> dict[str, Any]:
    """The JSON form of a network and its parts."""
    from rescale.cost import by_part, cost

    return {
        **cost_row(network, cost(network)),
        "parts": [part._asdict() for part in by_part(network)],
    }


def _networks(names: list[str]) -> list["Network"]:
    from rescale.errors import UserError
    from rescale.lookup import is_external, network

    if len(names) > 2:
        raise UserError(f"{len(names)} networks: show draws one, or two side by side")
    for name in names:
        if is_external(name):
            raise UserError(
                f"{name}: only rescale's own networks can be drawn; rescale cost {name} prints its cost"
            )
    return [network(name) for name in names]


def _can_print(characters: str) -> bool:
    try:
        characters.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
