"""On SIGTERM or Ctrl-C a run saves and stops; a second signal ends it at once."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType

STOPPED = 128 + signal.SIGTERM  # exit code of a study's run that saved and stopped on a signal
BUSY = 75  # exit code of a study's run whose folder another process writes to


class StopRequest:
    """While entered, records the first signal in `signal_name`; the second has its default effect.

    patience: seconds in which further signals are ignored: torchrun forwards the signals it receives, and its
    processes may have received the same ones.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self.signal_name, self.patience = "", patience
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may set handlers
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        if not self.signal_name:
            self.signal_name, self._since = signal.Signals(number).name, time.monotonic()
        elif time.monotonic() - self._since >= self.patience:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
