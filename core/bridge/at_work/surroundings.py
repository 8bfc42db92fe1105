"""What a call into a plugin must leave as it was: put back afterwards, where that is cheap.

Not put back: environment variables, `sys.path`, the random states of numpy and torch (every stage draws from generators
of its own), patched modules, files.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STREAMS = (("stdout", 1), ("stderr", 2))


@contextlib.contextmanager
def restored(*, streams_only: bool = False) -> Iterator[None]:
    """Put back standard output and error, the working directory, handlers of signals, filters of warnings, and torch's
    default dtype, gradients and number of threads; or the two streams only."""
    with contextlib.ExitStack() as undo:
        for keep in (_streams,) if streams_only else (_streams, _folder, _signals, _filters, _torch):
            undo.callback(keep())
        yield


def _streams() -> Callable[[], None]:
    kept = [(name, number, getattr(sys, name), _copy(number), _state(number)) for name, number in STREAMS]
    own = [(f"__{name}__", number, getattr(sys, f"__{name}__")) for name, number in STREAMS]

    def put_back() -> None:
        for name, number, stream, copy, state in kept:
            if copy is None:
                continue
            if _state(number) != state:
                os.dup2(copy, number)
            os.close(copy)
            if getattr(sys, name) is not stream:
                setattr(sys, name, stream)
        for name, number, stream in own:
            if stream is None or not stream.closed:
                continue
            opened = os.fdopen(number, "w", encoding=stream.encoding, errors=stream.errors, closefd=False)
            setattr(sys, name, opened)
            for used, *_ in kept:
                if getattr(sys, used) is stream:
                    setattr(sys, used, opened)

    return put_back


def _copy(number: int) -> int | None:
    """Return a copy of a file descriptor, which keeps its file open; None if it was closed before the command began."""
    try:
        return os.dup(number)
    except OSError:
        return None


def _state(number: int) -> tuple[int, int] | None:
    try:
        stat = os.fstat(number)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _folder() -> Callable[[], None]:
    try:
        folder = os.getcwd()  # noqa: PTH109
    except OSError:  # it was deleted before
        return lambda: None

    def put_back() -> None:
        with contextlib.suppress(OSError):  # the plugin deleted it
            os.chdir(folder)

    return put_back


def _signals() -> Callable[[], None]:
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # only the main thread may set handlers
    handlers = [(number, signal.getsignal(number)) for number in SIGNALS]

    def put_back() -> None:
        for number, handler in handlers:
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return put_back


def _filters() -> Callable[[], None]:
    filters, kept = warnings.filters, list(warnings.filters)

    def put_back() -> None:
        # Modules that were imported add filters about their own warnings, which stay; filters about all warnings go.
        added = [one for one in warnings.filters if one not in kept]
        lost = any(one not in warnings.filters for one in kept)
        if warnings.filters is not filters or lost or any(map(_about_all, added)):
            warnings.filters = filters
            filters[:] = [one for one in added if not _about_all(one)] + kept  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]

    return put_back


def _about_all(one: tuple[Any, ...]) -> bool:
    _, message, category, module, _ = one
    return message is None and module is None and category.__module__ == "builtins"


def _torch() -> Callable[[], None]:
    torch: Any = sys.modules.get("torch")
    # Of a torch that the plugin is the first to import, the defaults are known.
    dtype = torch.get_default_dtype() if torch else None
    gradients = torch.is_grad_enabled() if torch else True
    threads = torch.get_num_threads() if torch else None

    def put_back() -> None:
        torch = sys.modules.get("torch")
        if torch is None or not hasattr(torch, "get_default_dtype"):  # a plugin's import of it failed
            return
        if torch.get_default_dtype() != (dtype or torch.float32):
            torch.set_default_dtype(dtype or torch.float32)
        if torch.is_grad_enabled() != gradients:
            torch.set_grad_enabled(gradients)
        if threads is not None and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    return put_back
