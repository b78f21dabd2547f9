"""The outline of a file of torch.save: which keys hold models or state dicts, without running its code.

Every class and function that the pickle names is replaced by a placeholder, and no tensor is read.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

DEPTH = 2  # levels of keys
_BEFORE_CONTENT = 3  # pickles before that of the content, in the format before zip archives


class _Placeholder(dict[Any, Any]):
    """Stands for any object or function; accepts what a pickle does with one."""

    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "_Placeholder":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __call__(self, *_: Any) -> "_Placeholder":
        return _Placeholder()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __hash__(self) -> int:  # type: ignore[override]  # it may be in a set
        return id(self)

    def append(self, _: Any) -> None:
        """As of a list."""

    def extend(self, _: Any) -> None:
        """As of a list."""

    def add(self, _: Any) -> None:
        """As of a set."""


class _Unpickler(pickle.Unpickler):
    """Reads plain containers and numbers; everything else becomes a placeholder of the same name."""

    def find_class(self, module: str, name: str) -> Any:
        """A placeholder's class, except for dictionaries with an order."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return type(name, (_Placeholder,), {"__module__": module})

    def persistent_load(self, pid: Any) -> Any:
        """The class of a module, which the old format stores with its source; or a tensor's storage."""
        is_class = isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module"
        return pid[1] if is_class else _Placeholder()


def outline(path: Path) -> Any:
    """The content of a file of torch.save with placeholders; None if it cannot be read."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                for _ in range(_BEFORE_CONTENT):
                    _load(file)
                return _load(file)
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            return _load(io.BytesIO(archive.read(name)))
    except (
        *(pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError, ValueError, TypeError),
        *(AttributeError, LookupError, StopIteration, RuntimeError, NotImplementedError),
    ):
        return None


def saving_state_dicts(content: Any) -> str:
    """Python code that saves a file's state dicts alone; its models are replaced by their state dicts.

    Args:
        content: an outline.

    Returns:
        The code, for files FILE and NEW; "" if the content has neither.
    """
    load = "torch.load(FILE, weights_only=False)"
    if is_model(content):
        return f"torch.save({load}.state_dict(), NEW)"
    entries = [
        f"{'.'.join(path)!r}: c{''.join(f'[{key!r}]' for key in path)}{suffix}"
        for path, suffix in _parts(content)
    ]
    return f"c = {load}; torch.save({{{', '.join(entries)}}}, NEW)" if entries else ""


def is_model(value: Any) -> bool:
    """Whether a value of an outline stands for an nn.Module."""
    state = value.state if isinstance(value, _Placeholder) else None
    return isinstance(state, dict) and {"_parameters", "_modules"} <= state.keys()


def class_name(value: Any) -> str:
    """The full name of the class that a value stands for."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _parts(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys that lead to each model and state dict, and what gives its state dict."""
    if is_model(content) and path:
        yield path, ".state_dict()"
    elif not isinstance(content, Mapping) or isinstance(content, _Placeholder):
        return
    elif path and content and all(map(_is_tensor, content.values())):
        yield path, ""
    elif len(path) < DEPTH:
        for key, value in content.items():
            if isinstance(key, str):
                yield from _parts(value, (*path, key))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, _Placeholder) and type(value).__name__.startswith("_rebuild_")


def _load(file: BinaryIO) -> Any:
    return _Unpickler(file).load()
