"""How modules are imported: a package's names with their first use; many modules at once, in less time."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def on_first_use(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package.

    Args:
        package: the package's name.
        homes: public names by the module that defines them, such as {"rescale.data.loading": ("batches",)}.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(home_of[name]), name)

    return get


@contextmanager
def faster_imports() -> Iterator[None]:
    """Pause Python's garbage collector, for a block that does nothing but import.

    Nearly all objects that an import makes stay, so that searching them for garbage again and again finds
    none.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
