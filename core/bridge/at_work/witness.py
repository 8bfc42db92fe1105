"""Which plugin is at work: in memory, and on disk for the next command if the process dies.

A record is a small file in the cache, mapped into memory, so that a change costs a copy of some hundred bytes and is
kept by the operating system when the process is killed. It exists from the first call into a plugin of another
distribution until the process ends normally, and its lock is held as long as the process lives.
"""

from __future__ import annotations

import contextlib
import functools
import json
import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, final

from bridge.errors import BridgeError
from bridge.files import cache_folder

if TYPE_CHECKING:
    from filelock import FileLock

HALF = 4096
"""Bytes of each half of a record: a JSON value about the process, and one that names the plugins."""

LONGEST = 300
"""Characters of a text in a record: as JSON, no text of this length exceeds a half."""

_STACK: ContextVar[tuple[str, ...]] = ContextVar("bridge_plugins_at_work", default=())


def plugin_at_work() -> str:
    """Return the plugin that this thread is in, and what it does; empty if it is in none."""
    return (_STACK.get() or ("",))[-1]


@final
class Witness:
    """Keeps this process's record; without `begin`, or in a child that was forked, nothing is written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[str] = []
        self._command, self._began = "", ""
        self._pid = 0
        self._map: mmap.mmap | None = None
        self._file: FileLock | None = None
        self._path = Path()

    def begin(self, command: str) -> None:
        """Write a record from now on, once a plugin is at work.

        Args:
            command: The command line, for the message of the next command.
        """
        self._command, self._began = command, time.strftime("%Y-%m-%d %H:%M:%S")
        self._pid = os.getpid()

    def end(self) -> None:
        """Delete the record: the process ends normally, or on the user's request."""
        with self._lock:
            if self._map is not None and self._file is not None and self._pid == os.getpid():
                self._map.close()
                self._path.unlink(missing_ok=True)
                self._file.release()
                Path(self._file.lock_file).unlink(missing_ok=True)
            self._map, self._file, self._pid = None, None, 0

    @contextlib.contextmanager
    def watching(self, who: str, doing: str) -> Iterator[None]:
        """Name a plugin as being at work.

        Args:
            who: The plugin, as `distribution:name`.
            doing: What it is asked to do.
        """
        said = f"{who} ({doing})"
        token = _STACK.set((*_STACK.get(), said))
        self._change(said, here=True)
        try:
            yield
        finally:
            self._change(said, here=False)
            _STACK.reset(token)

    def now(self) -> str:
        """Return the plugins that are at work in any thread, the last one first."""
        return ", ".join(dict.fromkeys(reversed(self._active)))

    def _change(self, said: str, *, here: bool) -> None:
        with self._lock:
            if here:
                self._active.append(said)
            else:
                self._active.remove(said)
            if self._pid == os.getpid():
                if self._map is None:
                    with contextlib.suppress(OSError, BridgeError):  # no cache, read-only or full: no record
                        self._open()
                if self._map is not None:
                    self._map[HALF:] = json.dumps(self.now()[:LONGEST]).encode().ljust(HALF)

    def _open(self) -> None:
        from filelock import FileLock

        folder = record_folder()
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{self._pid}-{time.time_ns()}.record"
        self._file = FileLock(self._path.with_suffix(".lock"), thread_local=False)
        self._file.acquire(blocking=False)
        about = json.dumps({"pid": self._pid, "command": self._command[:LONGEST], "began": self._began}).encode()
        self._path.write_bytes(about.ljust(HALF) + b'""'.ljust(HALF))
        with self._path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 2 * HALF)


def record_folder() -> Path:
    """Return the folder of the records, in the cache."""
    return cache_folder() / "at-work"


@functools.cache
def witness() -> Witness:
    """Return this process's witness."""
    return Witness()
