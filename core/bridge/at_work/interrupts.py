"""The user's Ctrl-C, told apart from a KeyboardInterrupt of a plugin; a second one ends the process at once."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, final

from bridge.at_work.witness import witness
from bridge.terminal import last_words

INTERRUPTED = 130


@final
class Interrupts:
    """Counts the user's interrupts while `listening`; a second one does not wait for a plugin that caught the first."""

    def __init__(self) -> None:
        self.listens, self.count = False, 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT inside, if it would otherwise be a KeyboardInterrupt."""
        usual = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.listens, self.count = True, 0
        if usual is signal.default_int_handler:  # what runs in the background ignores Ctrl-C, and keeps to that
            signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            self.listens = False
            if usual is not None:
                signal.signal(signal.SIGINT, usual)

    def _handle(self, _number: int, _frame: Any) -> None:
        self.count += 1
        if self.count > 1:
            at_work = witness().now()
            witness().end()
            last_words(f"Interrupted{f' while {at_work} was at work' if at_work else ''}.")
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt


@functools.cache
def interrupts() -> Interrupts:
    """Return this process's interrupts."""
    return Interrupts()


def asked_by_user() -> bool:
    """Tell whether a KeyboardInterrupt may be the user's: one was counted, or nobody counts."""
    return not interrupts().listens or interrupts().count > 0
