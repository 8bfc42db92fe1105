"""Standard output is for the result alone: with --json, whatever else is printed goes to standard error."""

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
    """Return where results are written."""
    return _RESULTS.get() or sys.stdout


def keep_json_whole(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command whose `as_json` asks for one JSON document: nothing that a plugin prints gets into it."""

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
            # Libraries in C, and programs that a plugin starts, know the descriptor and not `sys.stdout`.
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
    # What is still held back goes where it was printed to.
    if sys.__stdout__:
        sys.__stdout__.flush()
    os.dup2(own, 1)
    os.close(own)
