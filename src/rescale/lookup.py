"""Find a network by name, file or mapping."""

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rescale.errors import UserError
from rescale.families import FAMILIES
from rescale.network import Network, checked, from_file, from_mapping
from rescale.scaling import named

OTHERS = ("timm:", "python:")  # prefixes of external models' names
NETWORK_FILE, EXTERNAL_FILE = "network.yaml", "external.json"  # a model folder holds one of them
RUN_FILE = "run.json"  # a run's folder holds it
LONGEST = 500  # characters of a name
_LABELLED = re.compile(r"(?P<label>[\w.+@-]+)=(?P<name>.+)")


def names() -> list[str]:
    """All complete names of networks."""
    return [name for family_names in by_family().values() for name in family_names]


def by_family() -> dict[str, list[str]]:
    """The names by family; scaled networks come last."""
    return {**{name: family.names() for name, family in FAMILIES.items()}, "scaled": list(named.TABLE_8)}


def label_and_name(text: str) -> tuple[str, str]:
    """The two parts of `label=NAME`; the label is "" if there is none. A file's name may contain `=`."""
    match = _LABELLED.fullmatch(text)
    return (match["label"], match["name"]) if match and not Path(text).exists() else ("", text)


def is_external(text: str) -> bool:
    """Whether a model's text, with or without a label, stands for an external model or a folder of one."""
    name = label_and_name(text)[1]
    return name.startswith(OTHERS) or (
        (Path(name) / EXTERNAL_FILE).is_file() and not (Path(name) / NETWORK_FILE).is_file()
    )


def network(source: str | Path | Mapping[str, Any]) -> Network:
    """Find a network by name, or read it from a file or a mapping.

    Args:
        source: a name, optionally with a resolution (`resnetrs50@160`); the path of a YAML file, or of a
            folder that holds network.yaml; `label=` and one of these, to rename the network; or a mapping
            with the keys of such a file.

    Returns:
        The network, checked: it can be built.

    Raises:
        UserError: no network has this name (the message suggests similar ones); the file is missing or cannot
            be read; a key, type or value is wrong, one line each.
    """
    if isinstance(source, Mapping):
        return from_mapping(dict(source))
    label, source = label_and_name(source) if isinstance(source, str) else ("", source)
    if label:
        return replace(network(source), name=label)
    if isinstance(source, Path) or source.endswith((".yaml", ".yml")) or "/" in source:
        path = Path(source)
        if path.is_dir() and (path / NETWORK_FILE).is_file():
            path = path / NETWORK_FILE  # a run or model folder
        if not path.is_file():
            raise UserError(f"{path}: no such network file")
        return from_file(path)
    if source.startswith(OTHERS):
        raise UserError(f"{source}: an external model; this takes networks of the project's own, as resnet50")
    base, at, size = source.partition("@")
    if at and not re.fullmatch("[0-9]+", size) and not named.parsed(source):
        raise UserError(f"{source}: @{size} is not a resolution; write a number of pixels, as in {base}@224")
    by_name = _named(source) if len(source) <= LONGEST else None
    if by_name is None:
        raise UserError(f"no network is named {source[:LONGEST]!r}; {_hint(base[:LONGEST])}")
    return checked(by_name, source)


def _hint(base: str) -> str:
    """What may have been meant by a name: names that begin alike, similar ones, or a model of timm's."""
    known = names()
    alike = [name for name in known if base and name.startswith(base.lower())]
    close = list(dict.fromkeys([*alike, *get_close_matches(base.lower(), known, n=3, cutoff=0.75)]))[:3]
    meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}rescale models lists those of the project; timm's are written timm:NAME"


def _named(name: str) -> Network | None:
    for family in FAMILIES.values():
        if member := family.from_name(name):
            return member
    if (parts := named.parsed(name)) and (base := _named(parts.base)):
        return replace(named.apply(base, parts), name=name)
    return None
