"""A clean stop: SIGINT and SIGTERM raise a flag that the trainer reads between steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """A context in which the first SIGINT or SIGTERM sets `raised`; a second SIGINT is a KeyboardInterrupt.

    Signals can only be handled in the main thread: elsewhere it does nothing.
    """

    def __init__(self) -> None:
        self.raised = False
        self._pressed = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.raised = True
        if number == signal.SIGINT:
            self._pressed += 1
            if self._pressed > 1:
                raise KeyboardInterrupt
