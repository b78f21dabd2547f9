"""Find a network by name, file or mapping."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rescale.errors import UserError, nearest
from rescale.families import FAMILIES
from rescale.network import Network, checked, from_file, from_mapping
from rescale.scaling import named

OTHERS = ("timm:", "python:")  # what the names of models begin with that are not ours


def names() -> list[str]:
    """Every name that stands for a network by itself."""
    return [name for some in by_family().values() for name in some]


def by_family() -> dict[str, list[str]]:
    """The same by family; networks that were scaled come last."""
    return {**{name: family.names() for name, family in FAMILIES.items()}, "scaled": list(named.TABLE_8)}


def network(source: str | Path | Mapping[str, Any]) -> Network:
    """The network that a name (`resnetrs50@160`), a YAML file or a mapping describes.

    Raises UserError with the nearest names, or with everything that is wrong in a file.
    """
    if isinstance(source, Mapping):
        return from_mapping(dict(source))
    if isinstance(source, Path) or source.endswith((".yaml", ".yml")) or "/" in source:
        path = Path(source)
        if path.is_dir() and (path / "network.yaml").is_file():
            path = path / "network.yaml"  # a run folder
        if not path.is_file():
            raise UserError(f"{path}: no such network file")
        return from_file(path)
    by_name = _named(source)
    if by_name is None:
        base = source.split("@", maxsplit=1)[0]
        hint = nearest(base, names())
        raise UserError(f"no network is named {source!r}; {hint} (rescale models lists them)")
    return checked(by_name, source)


def _named(name: str) -> Network | None:
    for family in FAMILIES.values():
        if member := family.from_name(name):
            return member
    if (parts := named.taken_apart(name)) and (base := _named(parts.base)):
        return replace(named.apply(base, parts), name=name)
    return None
