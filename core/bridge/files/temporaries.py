"""Temporary names beside the files that they become, and deleting those of writers that died."""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

ABANDONED_S = 24 * 3600
"""Age in s after which a temporary file is deleted where files cannot be locked."""

_NAME = re.compile(r"\..+\.[0-9a-f]{32}\.tmp", re.DOTALL)


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Create `.NAME.HEX.tmp` beside a file; it is locked while it is used, and deleted if it is still there after.

    Args:
        path: The file that the temporary file becomes; its folder exists.

    Returns:
        A context manager that gives the temporary file's path.

    Raises:
        OSError: If the file cannot be created.
    """
    temporary = temporary_name(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _lock(descriptor)
        yield temporary
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Return a new temporary name for `path`, in the same folder."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def sweep_temporaries(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder; those of living writers stay.

    A folder that cannot be listed or written is left as it is: what lies there harms nobody.

    Args:
        folder: The folder; it may be missing.
    """
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink() and _is_abandoned(path):
                path.unlink(missing_ok=True)


def is_locked(path: Path) -> bool:
    """Tell whether a living process holds the lock of a file, as of a temporary file or a lock file.

    Args:
        path: The file; where it cannot be locked, a file that changed within `ABANDONED_S` counts as held.
    """
    return not _is_abandoned(path)


def _is_abandoned(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            free = _lock(file.fileno())
            return time.time() - path.stat().st_mtime > ABANDONED_S if free is None else free
    except OSError:
        return False


def _lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed; False if another process holds it, None where files have no locks."""
    if os.name != "posix":
        return None
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
