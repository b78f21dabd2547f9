"""Files that are whole or absent: written beside, made durable, then renamed. Folders of one writer."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rescale.errors import JobError, UserError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends well, else it is removed.

    A full disk or a read-only folder becomes a JobError, and what was at `path` stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        sync(beside)
        beside.replace(path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"{path}: cannot be written ({reason}); what was there is kept") from error
    finally:
        beside.unlink(missing_ok=True)


def check_free(folder: Path, allowed: tuple[str, ...] = ()) -> None:
    """Refuse an output folder that holds anything but files of the names `allowed`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder that is empty or does not exist")
    if folder.is_dir() and any(entry.name not in allowed for entry in folder.iterdir()):
        raise UserError(f"{folder}: holds something else; give a folder that is empty or does not exist")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only process that writes in the folder; UserError where another one does.

    The system lets go of the lock when this process ends, however it ends. Loading processes, which are
    forked from it and may outlive it by seconds, do not hold it.
    """
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another process is writing here; wait for it or stop it") from None
        _LOCKS.add(lock)
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        yield
    finally:
        _LOCKS.discard(lock)
        os.close(lock)


_LOCKS: set[int] = set()  # descriptors of those that this process holds


def _let_go() -> None:
    """In a forked process: close what was inherited, or the lock would last as long as that process."""
    for lock in _LOCKS:
        os.close(lock)
    _LOCKS.clear()


os.register_at_fork(after_in_child=_let_go)


def write_text(path: Path, text: str) -> None:
    """Write text whole or not at all."""
    with atomic(path) as beside:
        beside.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
