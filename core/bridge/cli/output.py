"""Keep standard output for the result: with --json, all other output goes to standard error."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import IO, Any

_RESULTS: ContextVar[IO[str] | None] = ContextVar("bridge_results", default=None)


def results() -> IO[str]:
    """Return the stream for results."""
    return _RESULTS.get() or sys.stdout


def keep_json_whole(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command so that with `as_json` the output of plugins does not mix with the JSON document."""

    @functools.wraps(command)
    def wrapped(*args: Any, **flags: Any) -> Any:
        with _apart() if flags.get("as_json") else contextlib.nullcontext():
            return command(*args, **flags)

    return wrapped


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    with contextlib.ExitStack() as undo:
        stream: IO[str] = sys.stdout
        if stream is not None and stream is sys.__stdout__ and sys.__stderr__ and stream.fileno() == 1:
            # C libraries and child processes of a plugin write to the file descriptor, not to `sys.stdout`.
            stream.flush()
            own = os.dup(1)
            os.dup2(2, 1)
            undo.callback(_give_back, own)
            stream = undo.enter_context(os.fdopen(os.dup(own), "w", encoding=stream.encoding))
        token = _RESULTS.set(stream)
        undo.callback(_RESULTS.reset, token)
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def _give_back(own: int) -> None:
    # Flush buffered output to standard error before restoring the descriptor.
    if sys.__stdout__:
        sys.__stdout__.flush()
    os.dup2(own, 1)
    os.close(own)
