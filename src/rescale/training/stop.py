"""SIGTERM and Ctrl-C ask a run to save and stop; a second one ends it at once."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType


class StopRequest:
    """While entered, remembers the first signal's name in `asked`; the second does what it does by default.

    patience: seconds in which a further signal counts as the first: torchrun hands on what it is sent, which
    its processes may have been sent too.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self.asked, self.patience = "", patience
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may set handlers; whoever started this one decides
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._since = signal.Signals(number).name, time.monotonic()
        elif time.monotonic() - self._since >= self.patience:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
