"""The end of the process: threads and exit functions of plugins do not keep it, and print no traceback."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from types import FrameType
from typing import Any

from bridge.terminal import complain, flush

GRACE = 3.0
"""Seconds that threads and exit functions have after the command has finished."""


def end_within_grace(code: int) -> None:
    """Let the process end with a code, even if something hangs: for a process that does nothing but one command.

    Args:
        code: The exit code.
    """
    threading.Thread(target=_end, args=(code,), daemon=True, name="bridge-ending").start()


def say_faults_of_threads() -> None:
    """Print an error that ends a thread or an exit function as a sentence, without a traceback."""
    threading.excepthook = lambda given: _say_fault(given.exc_value, "a thread")
    sys.unraisablehook = lambda given: _say_fault(given.exc_value, "clean-up")


def _end(code: int) -> None:
    time.sleep(GRACE)
    hanging = ", ".join(dict.fromkeys(_hanging()))
    with contextlib.suppress(Exception):  # the streams may be closed
        complain(f"The command has finished, and did not wait any longer for {hanging or 'clean-up'}.")
        flush()
    os._exit(code)


def _hanging() -> list[str]:
    """Return what still runs, with the plugin if its code is known: threads that are no daemons, and exit functions."""
    frames = sys._current_frames()
    main = threading.main_thread()
    threads = [one for one in threading.enumerate() if not one.daemon and one is not main and one.ident]
    said = [f"the thread {one.name}{_whose(frames.get(one.ident or 0))}" for one in threads]
    return said or [f"a function that runs at exit{_whose(frames.get(main.ident or 0))}"]


def _whose(frame: FrameType | None) -> str:
    from bridge.plugins.isolation import owner_of

    modules: list[str] = []
    while frame is not None:
        modules.append(str(frame.f_globals.get("__name__", "")))
        frame = frame.f_back
    plugin = owner_of(modules)
    return f" of the plugin {plugin}" if plugin else ""


def _say_fault(error: Any, where: str) -> None:
    from bridge.plugins.isolation import culprit

    if not isinstance(error, BaseException) or isinstance(error, SystemExit):
        return
    plugin = culprit(error)
    by = f" of the plugin {plugin}" if plugin else ""
    with contextlib.suppress(Exception):
        complain(f"An error in {where}{by}: {type(error).__name__}: {error}")
