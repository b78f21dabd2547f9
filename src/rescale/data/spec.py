"""Where data comes from, as runs and plans store it."""

from dataclasses import dataclass
from pathlib import Path

WORDS = ("digits",)  # data that comes with a package


@dataclass(frozen=True)
class DataSpec:
    """What opens a data set again, from any working folder.

    Args:
        source: `digits`, or a path.
    """

    source: str

    @classmethod
    def of(cls, text: str | Path) -> "DataSpec":
        """The data that a word or a path means; a path becomes absolute."""
        return cls(str(text) if str(text) in WORDS else str(Path(text).absolute()))

    def __str__(self) -> str:
        return self.source

    @property
    def name(self) -> str:
        """A short name for titles."""
        return Path(self.source).name
