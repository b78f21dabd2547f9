"""WebDataset: tar files in which an image and its class share a name and differ in the extension.

Images are read in place through an index of offsets, which is built once. Nothing is extracted, so paths
that lead out of the folder, links and device files are harmless.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rescale.data.files import EXTENSIONS, INDEX, Unread, distinct_names, is_hidden_below, is_litter
from rescale.data.labels import Label, as_label, class_table, declared_names
from rescale.data.parts import Files, described, files_by_part, part_of
from rescale.data.raw import Encoded, RawDataset
from rescale.data.source import BadImage
from rescale.errors import JobError, UserError, plural
from rescale.files import write_text
from rescale.preprocess import USUAL_DECODING, Decoding

IMAGES, LABELS = EXTENSIONS, (".cls", ".json")  # .cls takes precedence
_INDEX_VERSION = 4
_PROBED = 64  # members that are looked at to tell shards from archives of unlabelled images
_BLOCK = 512  # bytes; a tar file consists of blocks and ends with two blocks of zeros


class Row(NamedTuple):
    """One image of a shard.

    Args:
        name: of the member.
        offset, size: of its content, in bytes.
        label: its class.
        pieces: offset and size in the content of each piece that a sparse member stores, one after the other;
            the rest of the content is zeros. Empty for an ordinary member, which is stored whole.
    """

    name: str
    offset: int
    size: int
    label: Label
    pieces: list[list[int]]


@dataclass(frozen=True)
class Shards(Encoded):
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

    @cached_property
    def file_names(self) -> tuple[str, ...]:
        """The distinct names of the files, in the order of `paths`."""
        return distinct_names(self.paths)

    def locations(self) -> Iterator[str]:
        """The paths of the tar files."""
        return map(str, self.paths)


def matches(path: Path) -> bool:
    """Whether the path is a tar file or a folder with tar files, at most one level further down."""
    return bool(_paths(path))


def is_usable(path: Path) -> bool:
    """Whether the first tar file holds labelled images, unlike an archive of an image folder."""
    return _has_labels(_paths(path)[0])


def _has_labels(shard: Path) -> bool:
    """Whether an image among the first members has a label."""
    names: list[str] = []
    try:
        with tarfile.open(shard, "r:") as tar:
            for member, _ in zip(tar, range(_PROBED), strict=False):
                names.append(member.name)
    except (tarfile.TarError, OSError):
        return False
    stems = [
        {stem for stem, dot, end in (name.rpartition(".") for name in names) if dot + end.lower() in kinds}
        for kinds in (IMAGES, LABELS)
    ]
    return bool(stems[0] & stems[1])


def contents(path: Path) -> str:
    """The tar files in a few words."""
    return described(path, _paths(path))


def read(path: Path) -> RawDataset:
    """Index all shards. Their parts are recognised by the names of the files and of their folders.

    Class names come from classes.txt beside the shards (one line per class, the name after the last tab).
    Without that file `class_table` decides whether labels are names or numbers.

    Raises:
        UserError: a shard is damaged, truncated or holds no images, an image has no class or an unknown one,
            or there are no training shards.
    """
    return _read(path, files_by_part(path, _paths(path), _has_labels), declared_names(path))


def read_part(path: Path) -> RawDataset:
    """Index all shards as one part, whatever their names are. classes.txt may lie in the folder or beside it.

    Raises:
        UserError: as `read`.
    """
    return _read(path, Files(tuple(_paths(path))), declared_names(path, path.parent))


def _read(path: Path, parts: Files, names: tuple[str, ...]) -> RawDataset:
    indices = {shard: index(shard) for shard in (*parts.train, *parts.val)}
    rows = {shard: listed.rows for shard, listed in indices.items()}
    first: dict[Label, str] = {}
    for shard, listed in rows.items():
        for row in listed:
            first.setdefault(row.label, f"{shard}:{row.name}")
    table = class_table(path, first, names)
    files = {
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
        files=files,
        notes=notes,
        declared=table.declared,
    )


class Index(NamedTuple):
    """What a shard holds. rows: its images. unread: a line that counts its other members; "" for none."""

    rows: list[Row]
    unread: str = ""


def index(path: Path) -> Index:
    """The index of a shard. It is cached beside the shard or, if that is read-only, in ~/.cache.

    A cached index is used while size and modification time of the shard stay the same.
    """
    stat = path.stat()
    stamp = [_INDEX_VERSION, stat.st_size, stat.st_mtime_ns]
    for cache in _caches(path):
        try:
            cached = json.loads(cache.read_text())
            if cached["stamp"] == stamp:
                return Index([Row(*row) for row in cached["rows"]], str(cached["unread"]))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # missing, or not an index of ours
    scanned = _scan(path)
    for cache in _caches(path):
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            if not cache.parent.stat().st_mode & 0o222:
                continue  # respect a read-only folder, even as root
            write_text(cache, json.dumps({"stamp": stamp, **scanned._asdict()}))
        except (OSError, JobError):
            continue  # try the next location; without any the index is built each time
        break
    return scanned


def _paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
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


def _caches(path: Path) -> list[Path]:
    beside = path.with_name(f".{path.name}{INDEX}")
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home, as in containers
        return [beside]
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:24]
    return [beside, home / "rescale" / f"{name}.json"]


def _scan(path: Path) -> Index:
    """Read the headers of a tar file once. Raises UserError if it is truncated or damaged."""
    images: dict[str, tarfile.TarInfo] = {}
    encoded: dict[str, dict[str, bytes]] = {kind: {} for kind in LABELS}
    unread = Unread()
    end, size = 0, path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                end = tar.offset  # offset of the next header
                if end > size:
                    raise UserError(f"{path}: truncated inside {member.name}; get the file again")
                if member.isdir():
                    continue
                if not member.isfile() or any(map(is_litter, member.name.split("/"))):
                    unread.add(member.name, "" if member.isfile() else "links or devices")
                    continue
                stem, dot, extension = member.name.rpartition(".")
                kind = dot + extension.lower()
                if kind in IMAGES:
                    if stem in images:
                        raise UserError(f"{path}: holds two images called {stem}; rename or remove one")
                    images[stem] = member
                elif kind in LABELS:
                    encoded[kind][stem] = _content(tar, member)
                else:
                    unread.add(member.name)
    except tarfile.TarError as error:
        raise UserError(f"{path}: damaged or not a tar file ({error}); get the file again") from None
    _check_end(path, end, len(images))
    labels = _labels(path, encoded[".cls"], encoded[".json"], images)
    if not images:
        raise UserError(f"{path}: holds no images ({', '.join(IMAGES)})")
    if unpaired := sorted(set(images) ^ set(labels)):
        raise UserError(
            f"{path}: {len(unpaired)} names have an image without a class or a class without an image; "
            f"the first is {unpaired[0]}"
        )
    rows = [Row(m.name, m.offset_data, m.size, labels[stem], _pieces(m)) for stem, m in images.items()]
    return Index(rows, unread.note())


def _check_end(path: Path, end: int, images: int) -> None:
    """Check that only zeros follow the last member: tarfile stops silently at anything else."""
    with path.open("rb") as file:
        file.seek(end)
        content = file.read(_BLOCK)
        if len(content) < _BLOCK:
            raise UserError(
                f"{path}: truncated after {plural(images, 'image')} (no end-of-archive block); "
                f"get the file again"
            )
        while content:
            if content.strip(b"\0"):
                raise UserError(f"{path}: damaged after {plural(images, 'image')}; get the file again")
            content = file.read(1 << 20)


def _pieces(member: tarfile.TarInfo) -> list[list[int]]:
    pieces: Any = member.sparse  # typeshed takes it for bytes
    return [list(piece) for piece in pieces or ()]


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # the member is a regular file
    return file.read()


def _labels(
    path: Path, texts: Mapping[str, bytes], jsons: Mapping[str, bytes], images: Collection[str]
) -> dict[str, Label]:
    """The labels in a shard, by name without extension: the text of .cls, else the entry "label" of .json.

    JSON without "label" is metadata: of an image that has a .cls, or of no image.
    """
    labels: dict[str, Label] = {}
    for stem, content in texts.items():
        where = f"{path}:{stem}.cls"
        try:
            labels[stem] = as_label(content.decode("utf-8-sig").strip(), where)
        except UnicodeDecodeError:
            raise UserError(f"{where}: not UTF-8 text; it must hold the class of its image") from None
    for stem, content in jsons.items():
        if stem in texts:
            continue
        where = f"{path}:{stem}.json"
        try:
            labels[stem] = as_label(json.loads(content)["label"], where)
        except (ValueError, LookupError, TypeError):
            if stem in images:
                raise UserError(f'{where}: not UTF-8 text, or JSON without "label"') from None
    return labels
