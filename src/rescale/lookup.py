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
from rescale.outputs import EXTERNAL_FILE, NETWORK_FILE
from rescale.scaling import named

OTHERS = ("timm:", "python:")  # prefixes of external models' names
LONGEST = 500  # characters of a name
WEIGHTS_SUFFIXES = (
    *(".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl"),
    *(".h5", ".hdf5", ".keras", ".npz", ".index"),
)
WEIGHTS_STARTS = (b"PK\x03\x04", b"\x80", b"\x89HDF")  # first bytes of torch.save's formats and of Keras'
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
        return from_file(_network_file(Path(source)))
    if source.startswith(OTHERS):
        raise UserError(f"{source}: an external model; this takes networks of the project's own, as resnet50")
    base, at, size = source.partition("@")
    if at and not re.fullmatch("[0-9]+", size) and not named.parsed(source):
        raise UserError(f"{source}: @{size} is not a resolution; write a number of pixels, as in {base}@224")
    by_name = _named(source) if len(source) <= LONGEST else None
    if by_name is None and (_exists(source) or _exists(base)):
        return from_file(_network_file(Path(source)))
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


def _exists(text: str) -> bool:
    return 0 < len(text) <= LONGEST and Path(text).exists()


def _network_file(path: Path) -> Path:
    """The path of a network file, or of the one in a run or model folder.

    Raises UserError, which says what else is at the path, if there is none.
    """
    if path.is_dir():
        if not (path / NETWORK_FILE).is_file():
            raise UserError(f"{path}: {_without_network(path)}")
        return path / NETWORK_FILE
    base, at, size = str(path).rpartition("@")
    if not path.exists() and at and size.isdecimal() and Path(base).exists():
        own = Path(base) / NETWORK_FILE if Path(base).is_dir() else Path(base)
        if not own.is_file():
            own = own.with_name(EXTERNAL_FILE)
        raise UserError(
            f"{path}: only names take @{size}; write it after the name that {own} holds, or set the "
            f"resolution in a copy of that file"
        )
    if _holds_weights(path):
        raise UserError(f"{path}: holds weights, not a network; {_use_of_weights(path)}")
    if not path.is_file():
        raise UserError(f"{path}: no such network file")
    return path


def _holds_weights(path: Path) -> bool:
    """Whether a path is a file of weights, or the name of a TensorFlow checkpoint."""
    if not path.is_file():
        return Path(f"{path}.index").is_file()
    if path.suffix.lower() in WEIGHTS_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(WEIGHTS_STARTS)
    except OSError:
        return False  # reading it as a network reports the error


def _without_network(folder: Path) -> str:
    """What a folder without a network file holds, and what to name instead."""
    if (folder / EXTERNAL_FILE).is_file():
        return "holds an external model; this needs one of this project's networks"
    missing = f"the folder has no {NETWORK_FILE} or {EXTERNAL_FILE}"
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if any(path.suffix.lower() in WEIGHTS_SUFFIXES for path in files):
        return f"{missing}, only weights; {_use_of_weights(folder)}"
    if networks := [path for path in files if path.suffix in (".yaml", ".yml")]:
        return f"{missing}; name one of its files, such as {networks[0]}"
    return missing


def _use_of_weights(path: Path) -> str:
    return (
        f"name the network, and give this as --weights {path} to rescale train, or make a model folder: "
        f"rescale import {path} --model NETWORK -o FOLDER"
    )


def _named(name: str) -> Network | None:
    for family in FAMILIES.values():
        if member := family.from_name(name):
            return member
    if (parts := named.parsed(name)) and (base := _named(parts.base)):
        return replace(named.apply(base, parts), name=name)
    return None
