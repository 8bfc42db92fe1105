"""Where files are kept, and how they are written: whole or not at all, with errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bridge.errors import StoreError

__all__ = ["RACY_NS", "cache_folder", "stamp_of", "sync_file", "write_bytes", "write_file", "writing"]

RACY_NS = 2 * 10**9
"""What changed less than so many ns ago may change again and bear the same times: FAT, the coarsest of file systems,
counts in steps of two seconds."""


def cache_folder() -> Path:
    """Return `BRIDGE_CACHE_DIR`, or the user's cache folder."""
    import platformdirs

    given = os.environ.get("BRIDGE_CACHE_DIR")
    return Path(given).expanduser() if given else platformdirs.user_cache_path("bridge")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing.

    Args:
        path: The file; its folder is made, and one that is there is replaced.
        data: All of it.

    Raises:
        StoreError: If the disk is full or read-only, or the folder may not be written.
    """
    write_file(path, lambda temporary: temporary.write_bytes(data))


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, fsync it, and rename it to `path`.

    Args:
        path: The file; its folder is made, and one that is there is replaced.
        write: Is called with the temporary file's path.

    Raises:
        StoreError: If the disk is full or read-only, or the folder may not be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            write(temporary)
            sync_file(temporary)
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def stamp_of(path: Path) -> tuple[dict[str, Any], int]:
    """Return what tells one state of a file from another without reading it, and when it last changed.

    Args:
        path: The file.

    Returns:
        Its real path, inode, size and both times of change, as JSON; and the later time, in ns since 1970.

    Raises:
        OSError: If there is no such file.
    """
    stat = path.stat()
    times = (stat.st_mtime_ns, stat.st_ctime_ns)
    return {"path": str(path.resolve()), "inode": stat.st_ino, "size": stat.st_size, "changed": times}, max(times)


def sync_file(path: Path) -> None:
    """See that a file is on the disk, so that its name never outlives its content.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make a rename survive a power cut; Windows cannot open folders and does not need it."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write under `path` into errors that say what to do.

    Args:
        path: What is being written.

    Returns:
        A context manager.

    Raises:
        StoreError: In place of an `OSError`.
    """
    causes = {
        errno.ENOSPC: "The disk is full.",
        errno.EDQUOT: "Your disk quota is used up.",
        errno.EROFS: "The file system is read-only.",
        errno.EACCES: "You may not write there.",
        errno.EPERM: "You may not write there.",
        errno.ENOTDIR: "Part of that path is a file.",
        errno.EEXIST: "Part of that path is a file.",
    }
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} could not be written ({error.strerror or error}).",
            cause=causes.get(error.errno or 0, ""),
            remedy="Free some space or set BRIDGE_CACHE_DIR or --out to a folder you may write to; "
            "what was already finished is kept and the same command continues from there.",
        ) from error
