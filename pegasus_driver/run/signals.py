"""Ctrl-C, SIGTERM and SIGHUP: the first stops the run cleanly, the second at once."""

import signal
import threading
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """A context that counts the signals.

    While `raising` is set they also raise KeyboardInterrupt, which ends the Python code that is running. Outside the
    main thread (in a test) no handler is installed.
    """

    def __init__(self) -> None:
        self.count = 0
        self.raising = True
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if number is signal.SIGHUP and before is signal.SIG_IGN:
                    continue  # nohup
                self._before[number] = before
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.raising:
            raise KeyboardInterrupt
