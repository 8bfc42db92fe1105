"""The only way to the terminal: every text is escaped and has a maximal length.

Texts of bridge go through `say`, `line` and `complain`, tables of `cell` and bars through `console`, results in JSON
through `print_json`. What plugins and libraries write to `sys.stdout` and `sys.stderr` is escaped while `guarded` or
`aside` holds. Not covered is what does not go through these two objects: bytes that C code, child processes or
`os.write` put on the descriptors 1 and 2. (With a pipe in their place, nothing would see a terminal there.)
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import IO, TYPE_CHECKING, Any, cast, final

from bridge.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LONGEST = 10_000
"""Maximal length of one text of bridge on the terminal, in characters."""

LONGEST_FOREIGN = 100_000
"""Maximal length of what a plugin or a library writes at once."""

WIDE = 200
"""Columns where standard output is not a terminal."""

_RESULTS: ContextVar[IO[str] | None] = ContextVar("bridge_results", default=None)


def shown(text: str, longest: int = LONGEST) -> str:
    """Return a text as it may be printed: escaped, and without its middle if it is too long, which it then says.

    The end stays, because the end of an error is its remedy.

    Args:
        text: Text of any origin.
        longest: Maximal length, without the sentence about what is left out.
    """
    if len(text) > longest:
        head, tail = longest * 3 // 4, longest // 4
        text = f"{text[:head]} [... {len(text) - head - tail:,} characters left out ...] {text[-tail:]}"
    return printable(text)


@final
class Guard:
    """A stream that escapes what is written to it; all else is the stream's own.

    It cannot be closed. A carriage return at the start of a text stays: bars of libraries are drawn again with it.

    Args:
        stream: A text stream.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._own = next((name for name in ("__stdout__", "__stderr__") if stream is getattr(sys, name)), "")

    @property
    def stream(self) -> IO[str]:
        """The stream itself; the process's own is looked up, because it is opened again where a plugin closed it."""
        return cast(IO[str], getattr(sys, self._own) if self._own else self._stream)

    def write(self, text: str) -> int:
        """Write a text, escaped and bounded.

        Raises:
            TypeError: If it is not a text.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        lines = text.replace("\r\n", "\n")
        start = "\r" if lines.startswith("\r") else ""
        self.stream.write(start + shown(lines.removeprefix("\r"), LONGEST_FOREIGN))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Stay open: the stream belongs to the process."""

    @property
    def buffer(self) -> _Bytes:
        """The same for bytes."""
        return _Bytes(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@final
class _Bytes:
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def write(self, data: bytes) -> int:
        self._guard.write(bytes(data).decode("utf-8", "surrogateescape"))
        return len(data)

    def flush(self) -> None:
        self._guard.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard.stream, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Escape what is written to `sys.stdout` and `sys.stderr`, by whomever."""
    with contextlib.redirect_stdout(_guard(sys.stdout)), contextlib.redirect_stderr(_guard(sys.stderr)):
        yield


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Call a plugin: what it prints goes to standard error, escaped, and not into the result."""
    err = _guard(sys.stderr)
    with contextlib.redirect_stdout(err), contextlib.redirect_stderr(err):
        yield


@contextlib.contextmanager
def results_apart() -> Iterator[None]:
    """Keep standard output for `print_json`: all else goes to standard error, of child processes too."""
    with contextlib.ExitStack() as undo:
        stream = _raw(sys.stdout)
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


def print_json(value: Any) -> None:
    """Print one JSON document on standard output, with characters that steer a terminal as JSON's own escapes."""
    stream = _RESULTS.get() or _raw(sys.stdout)
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    stream.write("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n")
    stream.flush()


def say(text: str) -> None:
    """Print a paragraph on standard output, in lines as wide as the terminal."""
    console().print(cell(text))


def line(text: str) -> None:
    """Print a line on standard output and break it nowhere: it may be copied."""
    stream = _raw(sys.stdout)
    stream.write(shown(text) + "\n")
    stream.flush()


def trace(text: str) -> None:
    """Write a line of a log to standard error."""
    _guard(sys.stderr).write(text)


def complain(text: str) -> None:
    """Print an error on standard error, in lines of at most 100 characters; paths and names stay whole."""
    stream = _raw(sys.stderr)
    wrapped = partial(textwrap.fill, width=100, break_long_words=False, break_on_hyphens=False)
    stream.write("\n".join(map(wrapped, shown(text).split("\n"))) + "\n")
    stream.flush()


def last_words(text: str) -> None:
    """Print a line on standard error within a handler of a signal, where streams cannot be used."""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{shown(text)}\n".encode())


def flush() -> None:
    """Write out what standard output still holds."""
    if not sys.stdout.closed:
        sys.stdout.flush()


def cell(text: str, style: str = "") -> Text:
    """Return a text for a table: it is never interpreted as markup or terminal control."""
    from rich.text import Text

    return Text(shown(text), style=style)


def console(*, err: bool = False, quiet: bool = False) -> Console:
    """Return a console past the guard, for styles, tables of `cell` and bars.

    Without a terminal rich assumes 80 columns and folds every cell, so this one is wide.

    Args:
        err: On standard error.
        quiet: Print nothing.
    """
    from rich.console import Console

    stream = _raw(sys.stderr if err else sys.stdout)
    made = Console(file=stream, highlight=False, markup=False, emoji=False, quiet=quiet)
    if not made.is_terminal:
        made.width = WIDE
    return made


def _guard(stream: IO[str]) -> IO[str]:
    return cast(IO[str], stream if isinstance(stream, Guard) else Guard(stream))


def _raw(stream: Any) -> IO[str]:
    return cast(IO[str], stream.stream if isinstance(stream, Guard) else stream)


def _give_back(own: int) -> None:
    # Flush buffered output to standard error before restoring the descriptor; a plugin may have closed the stream.
    if sys.__stdout__ and not sys.__stdout__.closed:
        sys.__stdout__.flush()
    os.dup2(own, 1)
    os.close(own)
