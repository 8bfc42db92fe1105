"""Locks of files that say for whom they wait: whoever holds one writes its process, machine and time beside it."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from bridge.files import write_bytes

SOON_SECONDS = 2.0
"""Time after which a process says that it waits."""

AGAIN_SECONDS = 300.0
"""Time after which it says so again."""

LONGEST = 200
"""Bytes that are read of what the holder wrote."""


@contextlib.contextmanager
def held(lock: Path, what: str, note: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a file; a second process waits until the first finishes or dies, and says so.

    Args:
        lock: The lock file, whose folder exists.
        what: What is done under the lock, for the sentence.
        note: Receives the sentences.

    Returns:
        A context manager.

    Raises:
        OSError: If the lock cannot be created.
    """
    from filelock import FileLock, Timeout

    file, patience, beside = FileLock(lock), SOON_SECONDS, lock.with_name(f"{lock.name}.holder")
    while True:
        try:
            file.acquire(timeout=patience)
            break
        except Timeout:
            note(f"{what}: waiting for {_holder(beside)}.")
            patience = AGAIN_SECONDS
    try:
        with contextlib.suppress(Exception):  # it only informs
            write_bytes(beside, f"{os.getpid()} {time.time():.0f} {platform.node()}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        file.release()


def _holder(beside: Path) -> str:
    """Return who holds a lock, in words; the file beside it is text of unknown origin."""
    try:
        with beside.open("rb") as file:
            written, since, host = file.read(LONGEST).decode("utf-8", "replace").split(" ", 2)
        pid = int(written)
        begun = f"{datetime.fromtimestamp(int(since)):%Y-%m-%d %H:%M:%S}"
        dead = host == platform.node() and not _lives(pid)
    except (OSError, ValueError, OverflowError):
        return "another process, which left no name"
    gone = ", which is dead: if this lasts, a process that it started holds the lock" if dead else ""
    return f"process {pid} on {host} since {begun}{gone}"


def _lives(pid: int) -> bool:
    if os.name != "posix" or pid < 1:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
