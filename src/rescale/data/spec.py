"""The reference to a data set that runs and plans store."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rescale.data.files import is_pattern
from rescale.errors import UserError, nearest

WORDS = ("digits",)  # data sets that are installed with a package


@dataclass(frozen=True)
class DataSpec:
    """A reference from which a data set can be opened in any working folder.

    It is either a source, whose parts are recognised by their names, or the paths of the parts.

    Args:
        source: `digits` or an absolute path; "" if the parts are given. The last step of a path may be a
            pattern of files, such as `test-*.tar`.
        train: absolute path of the training part; all images in it are trained on, but for a tenth if there
            is no validation part.
        val: absolute path of the validation part. Without `train` it can only be evaluated.
    """

    source: str = ""
    train: str = ""
    val: str = ""

    @classmethod
    def of(cls, data: "str | Path | Mapping[str, str] | DataSpec") -> "DataSpec":
        """Make a reference with absolute paths.

        Args:
            data: a built-in name, a path, the stored form of a reference, or a reference.
        """
        if isinstance(data, DataSpec):
            data = asdict(data)
        if not isinstance(data, Mapping):
            return cls(_absolute(str(data)))
        return cls(**{name: _absolute(text) for name, text in data.items() if text})

    def stored(self) -> dict[str, str]:
        """The form that runs store; `of` reads it."""
        return {name: text for name, text in asdict(self).items() if text}

    def plain(self) -> "str | DataSpec":
        """The text of a source; a reference to parts as it is."""
        return self.source or self

    def __str__(self) -> str:
        return self.source or " and ".join(filter(None, (self.train, self.val)))

    @property
    def name(self) -> str:
        """A short name for titles."""
        parts = [path for path in (self.train, self.val) if path]
        if not parts:
            return Path(self.source).name
        return Path(os.path.commonpath(parts)).name or Path(parts[0]).name

    def check_exists(self) -> None:
        """Raise UserError for a path that does not exist: its first missing part, and similar names there."""
        for text in (self.source, self.train, self.val):
            path = Path(text)
            if not text or text in WORDS or path.exists() or _stands_for_files(path):
                continue
            while not path.parent.exists():
                path = path.parent
            siblings = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
            raise UserError(f"{path}: no such data; {nearest(path.name, [*WORDS, *siblings])}")


def _stands_for_files(path: Path) -> bool:
    return is_pattern(path) and any(path.parent.glob(path.name))


def _absolute(text: str) -> str:
    return text if text in WORDS else str(Path(text).absolute())
