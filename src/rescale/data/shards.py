"""WebDataset: tar files whose members share a name, an image and its class.

Members are read where they lie, through an index of offsets made once; nothing is ever extracted, so
names that lead out of the folder, links and devices can do no harm.
"""

import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from rescale.data.decode import rgb
from rescale.data.parts import Parts
from rescale.errors import UserError

IMAGES, LABELS = (".jpg", ".jpeg", ".png", ".webp"), (".cls", ".json", ".txt")
VAL_NAMES = ("val", "test")  # how the name of a validation shard begins or the folder it lies in
_INDEX_VERSION = 1


class Entry(NamedTuple):
    """One image: its shard's number, its name, where its bytes lie, and its class as written."""

    shard: int
    name: str
    offset: int
    size: int
    label: str


@dataclass(frozen=True)
class Shards:
    """Images inside tar files. Open files belong to a process; a worker opens its own."""

    paths: tuple[Path, ...]
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    _open: dict[tuple[int, int], BinaryIO] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Image.Image:
        """The image at an index."""
        return rgb(self._bytes(index), self.describe(index))

    def describe(self, index: int) -> str:
        """Its shard and its name in there."""
        return f"{self.paths[self.shard[index]]}:{self.names[index]}"

    def _bytes(self, index: int) -> bytes:
        key = (os.getpid(), int(self.shard[index]))
        if key not in self._open:
            self._open[key] = self.paths[key[1]].open("rb")
        file = self._open[key]
        file.seek(int(self.offset[index]))
        return file.read(int(self.size[index]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def matches(path: Path) -> bool:
    """Are there tar files in it, or in its train/?"""
    return any(path.glob("*.tar")) or any((path / "train").glob("*.tar"))


def read(path: Path) -> Parts:
    """Index all shards. Those in val/ or test/, or named so, are the validation part."""
    paths = sorted(path.glob("*.tar")) + sorted(path.glob("*/*.tar"))
    held = [p for p in paths if _is_val(p, path)]
    train = [p for p in paths if p not in held]
    if not train:
        raise UserError(f"{path}: all its shards are validation ({', '.join(VAL_NAMES)}); training has none")
    entries = {part: _entries(shards) for part, shards in (("train", train), ("val", held))}
    names = _class_names(path, entries["train"] + entries["val"])
    digest = {p.name: str(p.stat().st_size) for p in paths}
    val = _source(held, entries["val"], names) if held else None
    return Parts(_source(train, entries["train"], names), val, tuple(names), files=digest)


def _is_val(shard: Path, path: Path) -> bool:
    folder = shard.parent.name if shard.parent != path else ""
    return folder in VAL_NAMES or shard.name.startswith(VAL_NAMES)


def _source(paths: list[Path], entries: list[Entry], names: list[str]) -> Shards:
    known = {name: label for label, name in enumerate(names)}
    numbers = {str(label): label for label in range(len(names))}
    labels = []
    for entry in entries:
        label = numbers.get(entry.label, known.get(entry.label))
        if label is None:
            where = f"{paths[entry.shard]}:{entry.name}"
            raise UserError(f"{where}: class {entry.label!r} is not among the {len(names)} classes")
        labels.append(label)
    columns = [
        np.array(column, dtype=np.int64)
        for column in ([e.shard for e in entries], [e.offset for e in entries])
    ]
    sizes = np.array([e.size for e in entries], dtype=np.int64)
    return Shards(
        tuple(paths), *columns, sizes, np.array(labels, dtype=np.int64), tuple(e.name for e in entries)
    )


def _class_names(path: Path, entries: list[Entry]) -> list[str]:
    """Names from classes.txt (a line a class), else the texts in sorted order, else numbers."""
    listed = path / "classes.txt"
    found = {entry.label for entry in entries}
    if listed.is_file():
        return [line.split()[-1] if line.split() else "" for line in listed.read_text().splitlines()]
    if all(label.isdigit() for label in found):
        return [str(number) for number in range(max(map(int, found)) + 1)]
    return sorted(found)


def _entries(paths: list[Path]) -> list[Entry]:
    found: list[Entry] = []
    for number, path in enumerate(paths):
        rows = _index(path)
        if not rows:
            raise UserError(
                f"{path}: holds no pair of an image ({', '.join(IMAGES)}) and its class (.cls, .json)"
            )
        found += [Entry(number, *row) for row in rows]
    return found


def _index(path: Path) -> list[list[Any]]:
    """[name, offset, size, class] of each image, made once and kept beside the shard or in a cache."""
    stat = path.stat()
    stamp = [_INDEX_VERSION, stat.st_size, stat.st_mtime_ns]
    for cache in _caches(path):
        try:
            kept = json.loads(cache.read_text())
        except (OSError, ValueError):
            continue
        if kept.get("stamp") == stamp:
            return kept["rows"]
    rows = _scan(path)
    for cache in _caches(path):
        beside = cache.with_name(f"{cache.name}.{os.getpid()}.part")
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps({"stamp": stamp, "rows": rows}))
            beside.replace(cache)
        except OSError:
            continue  # a read-only folder: the next place, or none; the index is then made each time
        break
    return rows


def _caches(path: Path) -> list[Path]:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    return [path.with_name(f".{path.name}.index.json"), home / "rescale" / f"{name}.json"]


def _scan(path: Path) -> list[list[Any]]:
    """Walk a tar once. A tar that ends early, or without its end mark, is refused."""
    images: dict[str, list[Any]] = {}
    labels: dict[str, str] = {}
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            end = 0
            for member in tar:
                end = member.offset_data + (member.size + 511) // 512 * 512
                if end > size:
                    raise UserError(f"{path}: cut off inside {member.name}; get the file again")
                if not member.isfile():
                    continue
                stem, dot, extension = member.name.rpartition(".")
                extension = dot + extension.lower()
                if extension in IMAGES:
                    images[stem] = [member.name, member.offset_data, member.size]
                elif extension in LABELS:
                    labels[stem] = _label(tar, member, f"{path}:{member.name}")
    except tarfile.TarError as error:
        raise UserError(f"{path}: damaged or no tar file ({error}); get the file again") from None
    if end + 512 > size:
        raise UserError(f"{path}: cut off after {len(images)} images (no end mark); get the file again")
    alone = sorted(set(images) ^ set(labels))
    if images and alone:
        raise UserError(f"{path}: {len(alone)} names lack their image or their class, {alone[0]} the first")
    return [[*images[stem], labels[stem]] for stem in images]


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> str:
    file = tar.extractfile(member)
    text = io.TextIOWrapper(file, "utf-8").read().strip() if file else ""
    if member.name.lower().endswith(".json"):
        try:
            found = json.loads(text)
        except ValueError:
            raise UserError(f"{where}: not JSON") from None
        if not isinstance(found, dict) or "label" not in found:
            raise UserError(f'{where}: has no "label"')
        text = str(found["label"])
    if not text:
        raise UserError(f"{where}: an empty class")
    return text
