"""The index of a tar shard: where its images lie, and their labels. It is built once and cached."""

import hashlib
import json
import os
import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rescale.data.files import EXTENSIONS, INDEX, Unread, is_litter
from rescale.data.labels import Label, as_label
from rescale.errors import JobError, UserError, first_few, plural
from rescale.files import write_text

IMAGES, LABELS = EXTENSIONS, (".cls", ".json")  # .cls takes precedence
_VERSION = 6
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


class Index(NamedTuple):
    """What a shard holds. rows: its images. unread: a line that counts its other members; "" for none."""

    rows: list[Row]
    unread: str = ""


class NoLabels(UserError):
    """No image of a shard has a label."""


def index(path: Path) -> Index:
    """The index of a shard. It is cached beside the shard or, if that is read-only, in ~/.cache.

    A cached index is used while size and modification time of the shard stay the same.
    """
    stat = path.stat()
    stamp = [_VERSION, stat.st_size, stat.st_mtime_ns]
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
    files: dict[str, tarfile.TarInfo] = {}  # where the content of each member lies
    images: dict[str, tarfile.TarInfo] = {}
    names: dict[str, str] = {}
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
                # a hard link stands for a member before it; GNU tar stores files with several names so
                content = (
                    files.get(member.linkname) if member.islnk() else member if member.isfile() else None
                )
                if content is None or any(map(is_litter, member.name.split("/"))):
                    unread.add(member.name, "" if content else "as a link or device")
                    continue
                files[member.name] = content
                stem, dot, extension = member.name.rpartition(".")
                kind = dot + extension.lower()
                if kind in IMAGES:
                    if stem in images:
                        raise UserError(f"{path}: holds two images called {stem}; rename or remove one")
                    images[stem] = content
                    names[stem] = member.name
                elif kind in LABELS:
                    encoded[kind][stem] = _content(tar, content)
                else:
                    unread.add(member.name)
    except tarfile.TarError as error:
        raise UserError(f"{path}: damaged or not a tar file ({error}); get the file again") from None
    _check_end(path, end, len(images))
    if not images:
        raise UserError(f"{path}: holds no images ({first_few(IMAGES, 8)}){_kinds(unread)}")
    for stem in _further_images(images, encoded):
        del images[stem]
        unread.add(names.pop(stem), "beside the first image of a sample")
    labels = _labels(path, encoded[".cls"], encoded[".json"], images)
    _check_pairs(path, images, labels, unread)
    rows = [Row(names[stem], m.offset_data, m.size, labels[stem], _pieces(m)) for stem, m in images.items()]
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
        folders = {stem.rpartition("/")[0] for stem in images}
        unpack = ", or unpack it if its folders are the classes" if len(folders) > 1 else ""
        raise NoLabels(
            f'{path}: none of its images has a class; add NAME.cls or NAME.json with "label" for each{unpack}'
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
        NoLabels: all labels are null.
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
        raise NoLabels(f"{path}:{next(iter(values))} has no label (null); add it or remove the image")
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
