"""WebDataset: tar files whose members share a name, an image and its class.

Members are read where they lie, through an index of offsets made once; nothing is ever extracted, so
names that lead out of the folder, links and devices can do no harm.
"""

import hashlib
import json
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rescale.data.decode import rgb
from rescale.data.folders import TRAIN, VAL
from rescale.data.raw import Classified, RawDataset, class_names, label_numbers
from rescale.data.source import BadImage, LazyImage
from rescale.errors import UserError

IMAGES, LABELS = (".jpg", ".jpeg", ".png", ".webp"), (".cls", ".json")  # .cls is asked first
_INDEX_VERSION = 2
_BLOCK = 512  # bytes; a tar is made of these, and ends with two of zeros


class Row(NamedTuple):
    """One image of a shard: its name, where its bytes lie, and its class as written."""

    name: str
    offset: int
    size: int
    label: str


@dataclass(frozen=True)
class Shards(Classified):
    """Images inside tar files: int64 [N] each, but for the names."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> LazyImage:
        """The image at an index. (Opening the shard each time costs little beside decoding.)"""
        where = self.describe(index)
        try:
            with self.paths[self.shard[index]].open("rb", buffering=0) as file:
                encoded = os.pread(file.fileno(), int(self.size[index]), int(self.offset[index]))
        except OSError as error:
            raise BadImage(f"{where}: {error.strerror}") from None
        return rgb(encoded, where)

    def describe(self, index: int) -> str:
        """Its shard and its name in there."""
        return f"{self.paths[self.shard[index]]}:{self.names[index]}"

    def key(self, index: int) -> str:
        """Its shard's name and its own."""
        return f"{self.paths[self.shard[index]].name}:{self.names[index]}"


def matches(path: Path) -> bool:
    """Is it a tar file, or are there such in it or in its train/?"""
    return bool(_paths(path))


def read(path: Path) -> RawDataset:
    """Index all shards. Those in val/, or named so, are the validation part.

    It is the first of val, validation, valid and test that a word of any shard's name, or the name of its
    folder, tells (imagenet1k-validation-07.tar).

    Classes are named by classes.txt beside the shards (a line a class, its name after the last tab), or by
    the texts found, or they are numbers.
    """
    train, val = _parts(path)
    rows = {shard: index(shard) for shard in (*train, *val)}
    listed = path / "classes.txt"
    if listed.is_file():
        names = tuple(
            line.split("\t")[-1].strip() for line in listed.read_text().splitlines() if line.strip()
        )
    else:
        names = class_names(str(path), {row.label for found in rows.values() for row in found})
    files = {
        shard.relative_to(path if path.is_dir() else path.parent).as_posix(): _digest(found)
        for shard, found in rows.items()
    }
    held = _source(val, rows, names) if val else None
    return RawDataset(_source(train, rows, names), held, names, files=files)


def index(path: Path) -> list[Row]:
    """The images of a shard, listed once; the list is kept beside it or, if that is read-only, in a cache."""
    stat = path.stat()
    stamp = [_INDEX_VERSION, stat.st_size, stat.st_mtime_ns]
    for cache in _caches(path):
        try:
            kept = json.loads(cache.read_text())
            if kept["stamp"] == stamp:
                return [Row(*row) for row in kept["rows"]]
        except (OSError, ValueError, LookupError, TypeError):
            continue  # none, or not ours
    rows = _scan(path)
    for cache in _caches(path):
        beside = cache.with_name(f"{cache.name}.{os.getpid()}.part")
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            if not cache.parent.stat().st_mode & 0o222:
                continue  # read-only is meant, even where the system would let us
            beside.write_text(json.dumps({"stamp": stamp, "rows": rows}))
            beside.replace(cache)
        except OSError:
            continue  # no place there: the next, or none, and the index is made each time
        break
    return rows


def _paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    found = sorted(path.glob("*.tar")) + sorted(path.glob("*/*.tar"))
    return [shard for shard in found if shard.parent == path or shard.parent.name in TRAIN + VAL]


def _parts(path: Path) -> tuple[list[Path], list[Path]]:
    """Training and validation shards."""
    part = {shard: _part(shard, path) for shard in _paths(path)}
    train = [shard for shard in part if part[shard] not in VAL]
    if not train:
        raise UserError(f"{path}: all its shards are validation ({', '.join(VAL)}); training has none")
    held = next((name for name in VAL if name in part.values()), None)
    return train, [shard for shard in part if part[shard] == held]


def _part(shard: Path, path: Path) -> str:
    """The part that a word of its name tells, or of its folder's; "" for none."""
    if shard == path:
        return ""
    named = shard.stem if shard.parent == path else shard.parent.name
    return next((word for word in re.split(r"[^a-z]+", named.lower()) if word in TRAIN + VAL), "")


def _source(paths: list[Path], rows: dict[Path, list[Row]], names: tuple[str, ...]) -> Shards:
    found = [(number, row) for number, path in enumerate(paths) for row in rows[path]]
    known = label_numbers(names)
    for number, row in found:
        if row.label not in known:
            where = f"{paths[number]}:{row.name}"
            raise UserError(f"{where}: class {row.label!r} is not among the {len(names)} classes")
    table = np.array([(n, row.offset, row.size, known[row.label]) for n, row in found], dtype=np.int64)
    return Shards(tuple(paths), tuple(row.name for _, row in found), *table.T.copy())


def _digest(rows: list[Row]) -> str:
    """Of the names and sizes of a shard's images; labels are hashed with all others."""
    text = "\n".join(f"{row.name} {row.size}" for row in rows)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _caches(path: Path) -> list[Path]:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:24]
    return [path.with_name(f".{path.name}.index.json"), home / "rescale" / f"{name}.json"]


def _scan(path: Path) -> list[Row]:
    """Walk a tar once. One that ends early, or holds more than can be walked, is refused."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, dict[str, str]] = {kind: {} for kind in LABELS}
    end, size = 0, path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                end = tar.offset  # of what follows the member
                if end > size:
                    raise UserError(f"{path}: cut off inside {member.name}; get the file again")
                if not member.isfile():
                    continue
                stem, dot, extension = member.name.rpartition(".")
                kind = dot + extension.lower()
                if kind in IMAGES:
                    if stem in images:
                        raise UserError(f"{path}: holds two images called {stem}")
                    images[stem] = member
                elif kind in LABELS:
                    labels[kind][stem] = _label(tar, member, f"{path}:{member.name}")
    except tarfile.TarError as error:
        raise UserError(f"{path}: damaged or no tar file ({error}); get the file again") from None
    _check_end(path, end, len(images))
    found = labels[".json"] | labels[".cls"]
    if not images:
        raise UserError(f"{path}: holds no image ({', '.join(IMAGES)})")
    if alone := sorted(set(images) ^ set(found)):
        raise UserError(f"{path}: {len(alone)} names lack their image or their class, {alone[0]} the first")
    return [Row(m.name, m.offset_data, m.size, found[stem]) for stem, m in images.items()]


def _check_end(path: Path, end: int, images: int) -> None:
    """After the last member only zeros may follow: tarfile stops silently at whatever else it meets."""
    with path.open("rb") as file:
        file.seek(end)
        mark = file.read(_BLOCK)
        if len(mark) < _BLOCK:
            raise UserError(f"{path}: cut off after {images} images (no end mark); get the file again")
        while mark:
            if mark.strip(b"\0"):
                raise UserError(f"{path}: damaged after {images} images; get the file again")
            mark = file.read(1 << 20)


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> str:
    """The class that a member holds: its text, or what its JSON calls label."""
    file = tar.extractfile(member)
    assert file is not None  # for a plain file there is one
    try:
        text = file.read().decode().strip()
        if member.name.lower().endswith(".json"):
            text = str(json.loads(text)["label"])
    except (ValueError, LookupError, TypeError):
        raise UserError(f'{where}: no UTF-8 text, or JSON without "label"') from None
    if not text:
        raise UserError(f"{where}: an empty class")
    return text
