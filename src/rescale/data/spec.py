"""The reference to a data set that runs and plans store."""

from dataclasses import dataclass
from pathlib import Path

WORDS = ("digits",)  # data sets that are installed with a package


@dataclass(frozen=True)
class DataSpec:
    """A reference from which a data set can be opened in any working folder.

    Args:
        source: `digits` or an absolute path.
    """

    source: str

    @classmethod
    def of(cls, text: str | Path) -> "DataSpec":
        """Make a reference from a built-in name or a path, which becomes absolute."""
        return cls(str(text) if str(text) in WORDS else str(Path(text).absolute()))

    def __str__(self) -> str:
        return self.source

    @property
    def name(self) -> str:
        """A short name for titles."""
        return Path(self.source).name
