"""Image files by their names: which are read, and what is counted instead because it is not."""

import glob
import os
import shlex
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rescale.errors import plural

EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".avif", ".bmp", ".dib",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
    ".tga", ".qoi",
)  # fmt: skip
"""Endings of the formats that Pillow reads and that hold photographs."""
NAMES = "classes.txt"  # beside the data: the names of its classes
INDEX = ".index.json"  # how the names of the index files of tar shards end
# a Mac's attributes in archives, a Synology disk's thumbnails, and what is at the root of disks
_LITTER = ("__MACOSX", "@eaDir", "lost+found", "System Volume Information", "$RECYCLE.BIN")
_KINDS = 5  # that a note names
_LOOSE = "outside of classes"


def is_image(name: str) -> bool:
    """Whether the file has the ending of an image format and is not hidden."""
    return name.lower().endswith(EXTENSIONS) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or is one that a system leaves behind."""
    return (name.startswith(".") and name not in (".", "..")) or is_litter(name)


def is_hidden_below(root: Path, path: Path) -> bool:
    """Whether a file, or a folder between it and the data folder `root`, is hidden."""
    return any(map(is_hidden, path.relative_to(root).parts))


def is_litter(name: str) -> bool:
    """Whether a system has left a file or folder behind, such as ._NAME or __MACOSX of a Mac."""
    return name.startswith("._") or name in _LITTER


def distinct_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """A name for each file: its own, or below the folder that all have in common if two names are equal.

    The names are independent of where the data lies, so that the keys of images and the splits stay.
    """
    names = tuple(path.name for path in paths)
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([path.parent for path in paths])
    return tuple(path.relative_to(root).as_posix() for path in paths)


def is_pattern(path: Path) -> bool:
    """Whether a path stands for several files: its name holds *, ? or [ and is not that of a file."""
    return any(sign in path.name for sign in "*?[") and not path.exists()


def matching(path: Path, ending: str) -> list[Path]:
    """The file of a path, or the files that a pattern stands for, as far as they end so; [] for a folder."""
    if not is_pattern(path):
        return [path] if path.suffix == ending and path.is_file() else []
    files = (file for file in sorted(path.parent.glob(path.name)) if not is_hidden(file.name))
    return [file for file in files if file.suffix == ending and file.is_file()]


def pattern_of(files: Sequence[Path]) -> Path | None:
    """A pattern that stands for some files of one folder and ending, and for no others; None for no such."""
    first = files[0]
    if len(files) == 1:
        return first
    low, *_, high = sorted(file.name for file in files)
    prefix = low[: next(i for i in range(len(high)) if low[: i + 1] != high[: i + 1])]
    for start in (prefix.rstrip(string.digits), prefix):
        pattern = first.with_name(f"{glob.escape(start)}*{first.suffix}")
        if matching(pattern, first.suffix) == sorted(files):
            return pattern
    return None


def as_argument(path: Path) -> str:
    """A path as it is typed in a command."""
    return shlex.quote(str(path))


def is_readable(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link to nothing: such an image counts as damaged."""
    return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())


def size_of(entry: os.DirEntry[str]) -> int:
    """Size of a file in bytes; 0 for a link to nothing."""
    return entry.stat().st_size if entry.is_file() else 0


def files_below(
    folder: Path,
    enters: Callable[[os.DirEntry[str]], bool] = lambda entry: True,
    below: str = "",
    above: frozenset[tuple[int, int]] | None = None,
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry below a folder that is no folder, in order. Links to folders are followed.

    Args:
        folder: where to start.
        enters: whether a folder is entered.
        below, above: of the recursion: the relative path so far, and the folders that enclose this one, up to
            the root of the disk. A link that leads back to one of them is not followed: it holds this folder
            again, and others of which it is no part.

    Yields:
        The path relative to `folder`, prefixed with `below`, and the entry.
    """
    if above is None:
        enclosing = {*folder.absolute().parents, *folder.resolve().parents}
        above = frozenset(map(_identity, enclosing))
    if (identity := _identity(folder)) in above:
        return
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        if not entry.is_dir():
            yield below + entry.name, entry
        elif enters(entry):
            yield from files_below(folder / entry.name, enters, f"{below}{entry.name}/", above | {identity})


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from others by whatever path it is reached."""
    status = folder.stat()
    return status.st_dev, status.st_ino


class Unread:
    """Counts the files that are not read, by kind, and keeps an example of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, name: str, kind: str = "") -> None:
        """Count a file. name: its relative path. kind: what a note calls it; by default by its name."""
        kind = kind or kind_of(name)
        self.counts[kind] += 1
        self.examples.setdefault(kind, name)

    def note(self) -> str:
        """One line with the counts; "" if there are none."""
        if not self.counts:
            return ""
        named = [f"{n} {kind} (such as {self.examples[kind]})" for kind, n in self.counts.most_common(_KINDS)]
        kinds = len(self.counts) - _KINDS
        more = [plural(kinds, "more kind")] if kinds > 0 else []
        total = self.counts.total()
        return f"passed over: {plural(total, 'file')}: {', '.join(named + more)}"


def kind_of(name: str) -> str:
    """What a note calls a file that is not read: hidden, an image in the wrong place, or its ending."""
    *folders, last = name.split("/")
    if any(map(is_hidden, (*folders, last))):
        return "hidden"
    if is_image(last):
        return _LOOSE
    return Path(last).suffix.lower() or "without an ending"


def unread(root: Path, read: Iterable[str], named: Iterable[Path] = ()) -> str:
    """One line that counts the files of a data folder that are not read; "" if there are none.

    Images in folders in which nothing is read are left to those who decide which folders are used. The names
    of the classes and the index files of tar shards are not counted.

    Args:
        root: the data folder.
        read: paths of the files that are read, below `root`.
        named: paths of files that are not read, which other lines name.
    """
    prefix = len(str(root)) + 1
    names = {path[prefix:] for path in read}
    used = {name.partition("/")[0] for name in names}
    names |= {str(path)[prefix:] for path in named}
    counted = Unread()

    def enters(folder: os.DirEntry[str]) -> bool:
        if not (readable := os.access(folder.path, os.R_OK | os.X_OK)):
            counted.add(os.path.relpath(folder.path, root), "not readable")
        return readable

    for name, entry in files_below(root, enters):
        top, inside, _ = name.partition("/")
        elsewhere = inside and top not in used and kind_of(name) == _LOOSE
        ours = name == NAMES or entry.name.endswith(INDEX)
        if not (name in names or elsewhere or ours):
            counted.add(name)
    return counted.note()
