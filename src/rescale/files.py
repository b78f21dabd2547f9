"""Atomic file writes (temporary file, fsync, rename), and folders locked by one writer."""

import fcntl
import glob
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rescale.errors import JobError, UserError

LOCK = ".lock"  # in a folder that one process at a time writes to


class Locked(UserError):
    """Another process writes to the folder."""


def is_temporary(path: Path) -> bool:
    """Whether this is the name of an unfinished file or checkpoint."""
    return path.name.startswith(".") and path.suffix == ".part"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. It is renamed to `path` on success and removed on failure.

    Temporary files of the same path that killed processes have left are removed.

    Raises JobError if writing fails (full disk, read-only folder); the old file at `path` is kept.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            if not _is_alive(leftover.name.split(".")[-2]):
                leftover.unlink(missing_ok=True)
        yield beside
        sync(beside)
        beside.replace(path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"{path}: cannot be written ({reason}); the old content is kept") from error
    finally:
        beside.unlink(missing_ok=True)


def _is_alive(process: str) -> bool:
    """Whether the process with this id, as text, runs on this machine."""
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def make_folder(path: Path) -> None:
    """Create a folder and its parents, if missing. Raises JobError if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"{path}: cannot be created ({error.strerror})") from None


def check_no_file(folder: Path) -> None:
    """Raise UserError if an output folder is a file."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder that is empty or does not exist")


def check_free(folder: Path, allowed: tuple[str, ...] = ()) -> None:
    """Raise UserError if an output folder contains anything but the names `allowed`, or is a file.

    Temporary files, which only killed writers leave, do not count.
    """
    check_no_file(folder)
    entries = [entry for entry in folder.iterdir() if not is_temporary(entry)] if folder.is_dir() else []
    if any(entry.name not in allowed for entry in entries):
        raise UserError(f"{folder}: is not empty; give a folder that is empty or does not exist")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for writing by this process. Raises Locked if another process holds the lock.

    Temporary files in it and in its folders, which killed processes have left, are removed.

    The system releases the lock when this process ends, for whatever reason. Data-loading processes, which
    are forked and may outlive it by seconds, do not hold the lock.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise JobError(f"{folder}: cannot be written to ({error.strerror})") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"{folder}: another process is writing here; wait for it or stop it") from None
        _LOCKS.add(lock)
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        for leftover in (*folder.glob(".*.part"), *folder.glob("*/.*.part")):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        yield
    finally:
        _LOCKS.discard(lock)
        os.close(lock)


_LOCKS: set[int] = set()  # descriptors of the locks that this process holds


def _close_inherited_locks() -> None:
    """Close inherited locks in a forked process, which would otherwise hold them until it ends."""
    for lock in _LOCKS:
        os.close(lock)
    _LOCKS.clear()


os.register_at_fork(after_in_child=_close_inherited_locks)


def printable(name: str) -> str:
    r"""The name as valid text: bytes of a file name that are not UTF-8 become escapes such as \xe9."""
    escaped = re.sub("[\udc80-\udcff]", lambda byte: rf"\x{ord(byte[0]) - 0xDC00:02x}", name)
    return escaped.encode(errors="backslashreplace").decode()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8. Names in it are made `printable`."""
    with atomic(path) as beside:
        beside.write_text(printable(text), encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
