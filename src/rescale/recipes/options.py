"""The options of a task: an immutable mapping from names to scalars, one of which names the task."""

import math
from collections.abc import Iterator, Mapping

Scalar = str | int | float | bool


class Options(Mapping[str, Scalar]):
    """Scalars by name, `name` first and the others in order; equal to any mapping of the same items."""

    def __init__(self, values: Mapping[str, Scalar]) -> None:
        self._values = {
            name: values[name] for name in sorted(values, key=lambda name: (name != "name", name))
        }

    def __getitem__(self, name: str) -> Scalar:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._values.items())


def task_options(value: object) -> Options:
    """Check a task's name and options. The messages of its ValueErrors follow the word "expected"."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError("options by name, as in {name: classification}")
    for name, option in value.items():
        if not isinstance(option, Scalar) or (isinstance(option, float) and not math.isfinite(option)):
            raise ValueError(f"a finite number, a string, true or false for its option {name}")
    if not (isinstance(value.get("name"), str) and value["name"]):
        raise ValueError("a name among its options, as in {name: classification}")
    return Options(value)
