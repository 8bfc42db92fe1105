"""Stamps that identify a file's state without reading the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["RACY_NS", "stamp_of"]

RACY_NS = 2 * 10**9
"""Age in ns below which a file may change again without new time stamps: FAT, the coarsest file system, has time steps
of two seconds."""


def stamp_of(path: Path) -> tuple[dict[str, Any], int]:
    """Return a stamp that identifies a file's state without reading the file, and the time of its last change.

    Args:
        path: The file.

    Returns:
        The real path, inode, size and both times of change, as JSON; and the later time, in ns since 1970.

    Raises:
        OSError: If the file does not exist.
    """
    stat = path.stat()
    times = (stat.st_mtime_ns, stat.st_ctime_ns)
    return {"path": str(path.resolve()), "inode": stat.st_ino, "size": stat.st_size, "changed": times}, max(times)
