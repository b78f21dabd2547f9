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

from rescale.data.files import EXTENSIONS, INDEX, Unread, distinct_names, is_hidden_below, is_litter, matching
from rescale.data.labels import Label, are_missing, as_label, class_table, declared_names
from rescale.data.parts import Files, described, files_by_part, part_of
from rescale.data.raw import Encoded, RawDataset
from rescale.data.source import BadImage
from rescale.errors import JobError, UserError, first_few, plural
from rescale.files import write_text
from rescale.preprocess import USUAL_DECODING, Decoding

IMAGES, LABELS = EXTENSIONS, (".cls", ".json")  # .cls takes precedence
_INDEX_VERSION = 5
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
    except _NoLabels:
        return False


class _NoLabels(UserError):
    """No image of a shard has a label."""


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
                    unread.add(member.name, "" if member.isfile() else "as a link or device")
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
    if not images:
        raise UserError(f"{path}: holds no images ({first_few(IMAGES, 8)}){_kinds(unread)}")
    for stem in _further_images(images, encoded):
        unread.add(images.pop(stem).name, "beside the first image of a sample")
    labels = _labels(path, encoded[".cls"], encoded[".json"], images)
    _check_pairs(path, images, labels, unread)
    rows = [Row(m.name, m.offset_data, m.size, labels[stem], _pieces(m)) for stem, m in images.items()]
    return Index(rows, unread.note())


def _further_images(images: Collection[str], encoded: Mapping[str, Collection[str]]) -> list[str]:
    """The images that belong to the sample of another image, such as the mask 0.seg.png beside 0.jpg.

    In WebDataset the name of a sample ends at the first dot. An image with a label of its own is no such.
    """
    labelled = {stem for stems in encoded.values() for stem in stems}
    return [
        stem for stem in images if stem not in labelled and any(s in images for s in _shorter_names(stem))
    ]


def _shorter_names(stem: str) -> Iterator[str]:
    """The name without its last endings: a.b and a for a.b.c."""
    folder, slash, name = stem.rpartition("/")
    while "." in name.lstrip("."):
        name = name.rpartition(".")[0]
        yield folder + slash + name


def _check_pairs(path: Path, images: Collection[str], labels: Collection[str], unread: Unread) -> None:
    """Refuse images without a label and labels without an image, with an example."""
    unlabelled = sorted(set(images) - set(labels))
    alone = sorted(set(labels) - set(images))
    if not labels:
        raise _NoLabels(
            f'{path}: none of its images has a class; add NAME.cls or NAME.json with "label" for each'
        )
    if unlabelled:
        raise UserError(
            f"{path}: {plural(len(unlabelled), 'image')} without a class, such as {unlabelled[0]}; add its "
            f".cls or remove it"
        )
    if alone:
        raise UserError(
            f"{path}: {plural(len(alone), 'class')} without an image, such as that of {alone[0]}"
            f"{_kinds(unread)}; convert the images to a kind that is read ({first_few(IMAGES, 8)}) or "
            f"remove their labels"
        )


def _kinds(unread: Unread) -> str:
    """The members that are not read, in brackets; "" if there are none."""
    return f" ({line})" if (line := unread.note()) else ""


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

    Raises:
        _NoLabels: all labels are null.
        UserError: a label is missing or is none.
    """
    values: dict[str, Any] = {}
    for stem, content in texts.items():
        try:
            values[f"{stem}.cls"] = content.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise UserError(
                f"{path}:{stem}.cls: not UTF-8 text; it must hold the class of its image"
            ) from None
    for stem, content in jsons.items():
        of_a_sample = stem not in images and any(name in images for name in _shorter_names(stem))
        if not (stem in texts or of_a_sample):
            values |= _json_label(path, stem, content, stem in images)
    if values and all(value is None for value in values.values()):
        raise _NoLabels(f"{path}:{next(iter(values))} has no label (null); add it or remove the image")
    return {name.rpartition(".")[0]: as_label(value, f"{path}:{name}") for name, value in values.items()}


def _json_label(path: Path, stem: str, content: bytes, has_image: bool) -> dict[str, Any]:
    """The entry "label" of a JSON member, by the member's name; {} for metadata of no image."""
    where, entry = f"{stem}.json", 'the class of its image belongs in an entry "label"'
    try:
        entries = json.loads(content)
    except ValueError:
        entries, reason = None, "not JSON in UTF-8"
    else:
        keys = f": its entries are {first_few([str(key) for key in entries])}" * (entries != {})
        reason = f'JSON without "label"{keys if isinstance(entries, dict) else ""}'
    if isinstance(entries, dict) and "label" in entries:
        return {where: entries["label"]}
    if has_image:
        raise UserError(f"{path}:{where}: {reason}; {entry}, or in {stem}.cls")
    return {}
