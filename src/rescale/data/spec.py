"""The reference to a data set that runs and plans store."""

from dataclasses import dataclass
from pathlib import Path

from rescale.errors import UserError, nearest

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

    def check_exists(self) -> None:
        """Raise UserError for a path that does not exist: its first missing part, and similar names there."""
        path = Path(self.source)
        if self.source in WORDS or path.exists():
            return
        while not path.parent.exists():
            path = path.parent
        siblings = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
        raise UserError(f"{path}: no such data; {nearest(path.name, [*WORDS, *siblings])}")
