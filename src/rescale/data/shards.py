"""WebDataset: tar files in which an image and its class share a name and differ in the extension.

Images are read in place through an index of offsets, which is built once. Nothing is extracted, so paths
that lead out of the folder, links and device files are harmless.
"""

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rescale.data.files import EXTENSIONS, INDEX, Unread, is_hidden, is_litter
from rescale.data.folders import TRAIN, VAL
from rescale.data.raw import Encoded, RawDataset, class_names, label_numbers
from rescale.data.source import BadImage
from rescale.errors import UserError
from rescale.preprocess import USUAL_DECODING, Decoding

IMAGES, LABELS = EXTENSIONS, (".cls", ".json")  # .cls takes precedence
_INDEX_VERSION = 4
_BLOCK = 512  # bytes; a tar file consists of blocks and ends with two blocks of zeros


class Row(NamedTuple):
    """One image of a shard: its name, offset and size in bytes, and its class as text."""

    name: str
    offset: int
    size: int
    label: str


@dataclass(frozen=True)
class Shards(Encoded):
    """A source of images inside tar files.

    Args:
        paths: the tar files.
        names: N names of the images, without extension.
        shard, offset, size: int64 [N]; index of the tar file, offset and size in bytes of each image.
        labels: int64 [N], class numbers.
        decoding: how the images become pixels.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    labels: np.ndarray
    decoding: Decoding = USUAL_DECODING

    def __len__(self) -> int:
        return len(self.names)

    def encoded(self, index: int) -> bytes:
        """The bytes of the image. Opening the shard each time is cheap compared with decoding."""
        where = self.describe(index)
        try:
            with self.paths[self.shard[index]].open("rb", buffering=0) as file:
                return os.pread(file.fileno(), int(self.size[index]), int(self.offset[index]))
        except OSError as error:
            raise BadImage(f"{where}: {error.strerror}") from None

    def describe(self, index: int) -> str:
        """Shard and name of the image."""
        return f"{self.paths[self.shard[index]]}:{self.names[index]}"

    def key(self, index: int) -> str:
        """Name of the shard and name of the image."""
        return f"{self.paths[self.shard[index]].name}:{self.names[index]}"

    def locations(self) -> Iterator[str]:
        """The paths of the tar files."""
        return map(str, self.paths)


def matches(path: Path) -> bool:
    """Whether the path is a tar file or a folder with tar files, directly or in train/ or val/."""
    return bool(_paths(path))


def read(path: Path) -> RawDataset:
    """Index all shards.

    The validation part is the first of val, validation, valid and test that occurs as a word in the name of
    a shard (imagenet1k-validation-07.tar) or of its folder.

    Class names come from classes.txt beside the shards (one line per class, the name after the last tab).
    Without that file the labels are the class names, or the class numbers if all of them are numbers.

    Raises:
        UserError: a shard is damaged, truncated or holds no images, an image has no class or an unknown one,
            or there are no training shards.
    """
    train, val = _parts(path)
    indices = {shard: index(shard) for shard in (*train, *val)}
    rows = {shard: listed.rows for shard, listed in indices.items()}
    names_file = path / "classes.txt"
    if names_file.is_file():
        names = tuple(
            line.split("\t")[-1].strip() for line in names_file.read_text().splitlines() if line.strip()
        )
    else:
        names = class_names(str(path), {row.label for listed in rows.values() for row in listed})
    files = {
        shard.relative_to(path if path.is_dir() else path.parent).as_posix(): _digest(listed)
        for shard, listed in rows.items()
    }
    val_source = _source(val, rows, names) if val else None
    notes = tuple(f"{shard.name}: {listed.unread}" for shard, listed in indices.items() if listed.unread)
    return RawDataset(_source(train, rows, names), val_source, names, files=files, notes=notes)


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
        temporary = cache.with_name(f"{cache.name}.{os.getpid()}.part")
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            if not cache.parent.stat().st_mode & 0o222:
                continue  # respect a read-only folder, even as root
            temporary.write_text(json.dumps({"stamp": stamp, **scanned._asdict()}))
            temporary.replace(cache)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            continue  # try the next location; without any the index is built each time
        break
    return scanned


def _paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    shards = sorted(path.glob("*.tar")) + sorted(path.glob("*/*.tar"))
    shards = [shard for shard in shards if not any(map(is_hidden, shard.relative_to(path).parts))]
    return [shard for shard in shards if shard.parent == path or shard.parent.name in TRAIN + VAL]


def _parts(path: Path) -> tuple[list[Path], list[Path]]:
    """Training and validation shards."""
    part = {shard: _part(shard, path) for shard in _paths(path)}
    train = [shard for shard in part if part[shard] not in VAL]
    if not train:
        raise UserError(
            f"{path}: all shards are for validation ({', '.join(VAL)}), there are none for training; add them"
        )
    val = next((name for name in VAL if name in part.values()), None)
    return train, [shard for shard in part if part[shard] == val]


def _part(shard: Path, path: Path) -> str:
    """The part named by a word in the name of a shard or of its folder; "" for none."""
    if shard == path:
        return ""
    name = shard.stem if shard.parent == path else shard.parent.name
    return next((word for word in re.split(r"[^a-z]+", name.lower()) if word in TRAIN + VAL), "")


def _source(paths: list[Path], rows: dict[Path, list[Row]], names: tuple[str, ...]) -> Shards:
    images = [(number, row) for number, path in enumerate(paths) for row in rows[path]]
    numbers = label_numbers(names)
    for number, row in images:
        if row.label not in numbers:
            where = f"{paths[number]}:{row.name}"
            raise UserError(f"{where}: class {row.label!r} is not among the {len(names)} classes")
    table = np.array([(n, row.offset, row.size, numbers[row.label]) for n, row in images], dtype=np.int64)
    return Shards(tuple(paths), tuple(row.name for _, row in images), *table.T.copy())


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
    labels: dict[str, dict[str, str]] = {kind: {} for kind in LABELS}
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
                    labels[kind][stem] = _label(tar, member, f"{path}:{member.name}")
                else:
                    unread.add(member.name)
    except tarfile.TarError as error:
        raise UserError(f"{path}: damaged or not a tar file ({error}); get the file again") from None
    _check_end(path, end, len(images))
    classes = labels[".json"] | labels[".cls"]
    if not images:
        raise UserError(f"{path}: holds no images ({', '.join(IMAGES)})")
    if unpaired := sorted(set(images) ^ set(classes)):
        raise UserError(
            f"{path}: {len(unpaired)} names have an image without a class or a class without an image; "
            f"the first is {unpaired[0]}"
        )
    rows = [Row(m.name, m.offset_data, m.size, classes[stem]) for stem, m in images.items()]
    return Index(rows, unread.note())


def _check_end(path: Path, end: int, images: int) -> None:
    """Check that only zeros follow the last member: tarfile stops silently at anything else."""
    with path.open("rb") as file:
        file.seek(end)
        content = file.read(_BLOCK)
        if len(content) < _BLOCK:
            raise UserError(
                f"{path}: truncated after {images} images (no end-of-archive block); get the file again"
            )
        while content:
            if content.strip(b"\0"):
                raise UserError(f"{path}: damaged after {images} images; get the file again")
            content = file.read(1 << 20)


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> str:
    """The class in a member: its text, or the entry "label" of its JSON."""
    file = tar.extractfile(member)
    assert file is not None  # the member is a regular file
    try:
        text = file.read().decode().strip()
        if member.name.lower().endswith(".json"):
            text = str(json.loads(text)["label"])
    except (ValueError, LookupError, TypeError):
        raise UserError(f'{where}: not UTF-8 text, or JSON without "label"') from None
    if not text:
        raise UserError(f"{where}: is empty; it must hold the class of its image")
    return text
