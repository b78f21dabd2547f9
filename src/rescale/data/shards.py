"""WebDataset: tar files in which an image and its class share a name and differ in the extension.

Images are read in place through an index of offsets, which is built once. Nothing is extracted, so paths
that lead out of the folder, links and device files are harmless.
"""

import hashlib
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rescale.data.files import is_hidden_below, matching
from rescale.data.labels import Label, are_missing, class_table, declared_names
from rescale.data.parts import Files, described, files_by_part, part_of
from rescale.data.raw import InFiles, RawDataset
from rescale.data.shard_index import IMAGES, LABELS, NoLabels, Row, index
from rescale.data.source import BadImage
from rescale.preprocess import USUAL_DECODING, Decoding


@dataclass(frozen=True)
class Shards(InFiles):
    """A source of images inside tar files.

    Args:
        paths: the tar files.
        names: N names of the images, without extension.
        shard, offset, size: int64 [N]; index of the tar file, offset and size in bytes of each image.
        labels: int64 [N], class numbers.
        sparse: the `Row.pieces` of images that are stored with holes, by index.
        decoding: how the images become pixels.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    labels: np.ndarray
    sparse: Mapping[int, Sequence[Sequence[int]]]
    decoding: Decoding = USUAL_DECODING

    def __len__(self) -> int:
        return len(self.names)

    def encoded(self, index: int) -> bytes:
        """The bytes of the image. Opening the shard each time is cheap compared with decoding."""
        where, size = self.describe(index), int(self.size[index])
        pieces = self.sparse.get(index, ())
        stored = sum(length for _, length in pieces) if pieces else size
        try:
            with self.paths[self.shard[index]].open("rb", buffering=0) as file:
                content = os.pread(file.fileno(), stored, int(self.offset[index]))
        except OSError as error:
            raise BadImage(f"{where}: {error.strerror}") from None
        return _expanded(content, pieces, size) if pieces else content

    def describe(self, index: int) -> str:
        """Shard and name of the image."""
        return f"{self.paths[self.shard[index]]}:{self.names[index]}"

    def key(self, index: int) -> str:
        """Name of the shard and name of the image."""
        return f"{self.file_names[self.shard[index]]}:{self.names[index]}"


def matches(path: Path) -> bool:
    """Whether the path is a tar file, a pattern of some, or a folder that holds some."""
    return bool(files(path))


def is_usable(path: Path) -> bool:
    """Whether the first tar file holds an image with a label, unlike an archive of an image folder."""
    stems: dict[bool, set[str]] = {True: set(), False: set()}
    try:
        with tarfile.open(files(path)[0], "r:") as tar:
            for member in tar:
                stem, dot, extension = member.name.rpartition(".")
                if (kind := dot + extension.lower()) in (*IMAGES, *LABELS):
                    is_label = kind in LABELS
                    stems[is_label].add(stem)
                    if stem in stems[not is_label]:
                        return True
    except (tarfile.TarError, OSError):
        pass
    return False


def contents(path: Path) -> str:
    """The tar files in a few words."""
    return described(path if path.is_dir() else path.parent, files(path))


def read(path: Path) -> RawDataset:
    """Index all shards. Their parts are recognised by the names of the files and of their folders.

    Class names come from classes.txt beside the shards (one line per class, the name after the last tab).
    Without that file `class_table` decides whether labels are names or numbers.

    Raises:
        UserError: a shard is damaged, truncated or holds no images, an image has no class or an unknown one,
            or there are no training shards.
    """
    return _read(path, files_by_part(path, files(path), _has_labels), declared_names(path))


def read_part(path: Path) -> RawDataset:
    """Index all shards as one part, whatever their names are. classes.txt may lie in the folder or beside it.

    Raises:
        UserError: as `read`.
    """
    return _read(path, Files(tuple(files(path))), declared_names(path, path.parent))


def _read(path: Path, parts: Files, names: tuple[str, ...]) -> RawDataset:
    indices = {shard: index(shard) for shard in (*parts.train, *parts.val)}
    rows = {shard: listed.rows for shard, listed in indices.items()}
    first: dict[Label, str] = {}
    for shard, listed in rows.items():
        for row in listed:
            first.setdefault(row.label, f"{shard}:{row.name}")
    table = class_table(path, first, names)
    digests = {
        shard.relative_to(path if path.is_dir() else path.parent).as_posix(): _digest(listed)
        for shard, listed in rows.items()
    }
    val = _source(parts.val, rows, table.numbers) if parts.val else None
    unread = (f"{shard.name}: {listed.unread}" for shard, listed in indices.items() if listed.unread)
    notes = (*parts.notes, *table.notes, *unread)
    return RawDataset(
        _source(parts.train, rows, table.numbers),
        val,
        table.classes,
        files=digests,
        notes=notes,
        declared=table.declared,
        unread=parts.unread,
    )


def _has_labels(shard: Path) -> bool:
    """Whether the images of a shard have labels: in tests they may have none, null or -1."""
    try:
        return not are_missing(row.label for row in index(shard).rows)
    except NoLabels:
        return False


def files(path: Path) -> list[Path]:
    """The tar files of a file, a pattern or a folder, at most one level further down."""
    if not path.is_dir():
        return matching(path, ".tar")
    top, below = (
        [shard for shard in sorted(path.glob(pattern)) if not is_hidden_below(path, shard)]
        for pattern in ("*.tar", "*/*.tar")
    )
    return top + [shard for shard in below if part_of(shard.parent.name)] or below


def _source(paths: Sequence[Path], rows: dict[Path, list[Row]], numbers: Mapping[Label, int]) -> Shards:
    images = [(number, row) for number, path in enumerate(paths) for row in rows[path]]
    table = np.array([(n, row.offset, row.size, numbers[row.label]) for n, row in images], dtype=np.int64)
    shard, offset, size, labels = table.T.copy()
    sparse = {number: row.pieces for number, (_, row) in enumerate(images) if row.pieces}
    names = tuple(row.name for _, row in images)
    return Shards(tuple(paths), names, shard, offset, size, labels, sparse)


def _expanded(stored: bytes, pieces: Sequence[Sequence[int]], size: int) -> bytes:
    """The content of a sparse member of `size` bytes, from its stored pieces."""
    content, start = bytearray(size), 0
    for offset, length in pieces:
        content[offset : offset + length] = stored[start : start + length]
        start += length
    return bytes(content)


def _digest(rows: list[Row]) -> str:
    """Hash of the names and sizes of a shard's images. Labels are part of the digest of the data set."""
    text = "\n".join(f"{row.name} {row.size}" for row in rows)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
