"""Compute values in worker processes; a process that ends early becomes one error that says what to do."""

import atexit
import gc
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import torch
from torch.utils.data import DataLoader, Dataset

from rescale.data.source import Batch
from rescale.errors import JobError

Key = TypeVar("Key")
Value = TypeVar("Value")

LESS = "use fewer --workers or a smaller batch"
SECONDS = 2.0  # to wait for the end of a worker that was killed
SHARED = f"enlarge /dev/shm (docker run --shm-size 8g, or --ipc host), or {LESS}"


class LoadingFailed(JobError):
    """The worker processes cannot continue. The data is not the cause: a run can be saved and resumed."""


def in_workers(
    compute: Callable[[Key], Value], keys: Sequence[Key], workers: int, *, pin_memory: bool = False
) -> Generator[Value]:
    """Yield compute(key) for each key, in order, computed by worker processes.

    The workers ignore SIGTERM and SIGINT: this process handles them. They end with the generator.

    Args:
        compute: called in the workers; a `Batch` that it returns is handed over in shared memory.
        keys: the arguments.
        workers: number of processes, at least 1.
        pin_memory: move each batch into pinned memory, in a thread of this process.

    Raises:
        JobError: `compute` raised it.
        LoadingFailed: a worker was killed or cannot be started, or memory is full.
        RuntimeError: `compute` raised any other error; it contains the traceback.
    """
    values = _values(compute, keys, workers, pin_memory)
    _OPEN.add(values)
    return values


@dataclass(frozen=True)
class _Failure:
    """An error of `compute`. A worker returns it: raising it there would leave other workers waiting."""

    error: Exception


@dataclass(frozen=True)
class _Computed(Dataset[Any], Generic[Key, Value]):
    """`compute` as a data set, for DataLoader."""

    compute: Callable[[Key], Value]

    def __getitem__(self, key: Key) -> Value | _Failure:
        try:
            value = self.compute(key)
            if isinstance(value, Batch):
                _share(value)
            return value
        except JobError as error:
            return _Failure(error)
        except MemoryError:
            return _Failure(LoadingFailed(f"a loading process has no memory left; {LESS}"))
        except Exception:
            return _Failure(RuntimeError(f"in a loading process:\n{traceback.format_exc()}"))


def _share(batch: Batch) -> None:
    """Move a batch into shared memory.

    The queue of DataLoader would do it as well, but in a thread: an error there is only printed, and the
    batch never arrives.
    """
    try:
        for tensor in (*batch.tensors.values(), batch.indices):
            tensor.share_memory_()
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rpartition(": ")[2]
        raise LoadingFailed(f"a loading process has no shared memory left ({reason}); {SHARED}") from None


def _values(
    compute: Callable[[Key], Value], keys: Sequence[Key], workers: int, pin_memory: bool
) -> Generator[Value]:
    others = multiprocessing.active_children()
    started: list[BaseProcess] = []
    iterator = None
    try:
        try:
            iterator = _start(_Computed(compute), keys, workers, pin_memory)
        finally:
            started = [process for process in multiprocessing.active_children() if process not in others]
        while True:
            value = _next(iterator, started)
            if value is _END:
                return
            if isinstance(value, _Failure):
                raise value.error
            yield value
    finally:
        del iterator  # tells the workers to end; an error's traceback would keep it alive
        for process in started:
            if process.is_alive():
                process.kill()
            process.join()


_END = object()  # no value is left


def _start(
    dataset: _Computed[Any, Any], keys: Sequence[Any], workers: int, pin_memory: bool
) -> Iterator[Any]:
    """Start the workers.

    DataLoader sets a handler of SIGCHLD that raises as soon as a worker dies, wherever this process is at
    that moment: a half-taken optimizer step would then be saved. `_next` sees dead workers without it.
    """
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        return iter(
            DataLoader(
                dataset,
                sampler=keys,
                batch_size=None,
                num_workers=workers,
                pin_memory=pin_memory,
                worker_init_fn=_init_worker,
                collate_fn=_unchanged,
                generator=torch.Generator(),  # a separate one, so that torch's default is not advanced
            )
        )
    except OSError as error:
        raise LoadingFailed(f"loading processes cannot be started ({error.strerror}); {LESS}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


def _next(iterator: Iterator[Any], workers: Sequence[BaseProcess]) -> Any:
    """The next value, `_END`, or a `_Failure`: raised here, its traceback would keep the iterator alive."""
    try:
        return next(iterator, _END)
    except (RuntimeError, OSError, EOFError) as error:
        failure = _failure(error, workers)
        if failure is None:
            raise
        return _Failure(failure)


def _failure(error: Exception, workers: Sequence[BaseProcess]) -> LoadingFailed | None:
    """What happened to the workers; None if they are not to blame for an error of DataLoader."""
    wait(
        [process.sentinel for process in workers], SECONDS
    )  # a lost connection may be noticed before its end
    for process in workers:
        code = process.exitcode
        if code == -signal.SIGBUS:
            return LoadingFailed(f"loading process {process.pid} ended: shared memory is full; {SHARED}")
        if code == -signal.SIGKILL:
            return LoadingFailed(
                f"loading process {process.pid} was killed, as the system does when memory is full; {LESS}"
            )
        if code:
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            return LoadingFailed(f"loading process {process.pid} ended {how}; {LESS}")
    if "open files" in str(error):
        return LoadingFailed(f"too many open files; raise the limit with ulimit -n 65536, or {LESS}")
    if isinstance(error, OSError | EOFError) or "exited unexpectedly" in str(error):  # killed at its start
        return LoadingFailed(f"a loading process ended at once, as it does when memory is full; {LESS}")
    return None


def _init_worker(_: int) -> None:
    """Use one thread and ignore signals: the parent process handles them and saves a checkpoint first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # do not collect inherited objects here: they may include a stream with its own workers
    torch.set_num_threads(1)


def _unchanged(value: Any) -> Any:
    """Return the value. DataLoader's default conversion would turn its tuples into lists."""
    return value


_OPEN: WeakSet[Generator[Any]] = WeakSet()


@atexit.register
def _close_all() -> None:
    """Stop the workers of unfinished generators. At exit Python sends SIGTERM, which workers ignore."""
    for values in list(_OPEN):
        values.close()
