"""Ctrl-C as a wish that a run grants when it can."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any


@dataclass
class Interruption:
    """Set by Ctrl-C; a second Ctrl-C stops at once.

    ``action`` is called at the first one.
    """

    asked: bool = False
    action: Callable[[], None] | None = None
    previous: dict[int, Any] = field(default_factory=dict)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self.action is not None:
            self.action()
        for signal_number, handler in self.previous.items():
            signal.signal(signal_number, handler)


@contextmanager
def interruptible(action: Callable[[], None] | None = None) -> Iterator[Interruption]:
    """Turn SIGINT and SIGTERM into a flag, so that a step is never cut in two."""
    flag = Interruption(action=action)
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        flag.previous[number] = signal.signal(number, flag)
    try:
        yield flag
    finally:
        for number, handler in flag.previous.items():
            signal.signal(number, handler)
