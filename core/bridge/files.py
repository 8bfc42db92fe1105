"""The cache folder, and atomic writing of files, with errors that state the remedy."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bridge.errors import StoreError, UsageError
from bridge.temporaries import sweep_temporaries, temporary_file, temporary_name

__all__ = [
    "RACY_NS",
    "cache_folder",
    "expand_user",
    "stamp_of",
    "sync_file",
    "write_bytes",
    "write_file",
    "write_pieces",
    "writing",
]

RACY_NS = 2 * 10**9
"""Age in ns below which a file may change again without new time stamps: FAT, the coarsest file system, has time steps
of two seconds."""


def cache_folder() -> Path:
    """Return `BRIDGE_CACHE_DIR`, or the user's cache folder.

    Raises:
        StoreError: If there is neither.
    """
    import platformdirs

    return user_folder("BRIDGE_CACHE_DIR", platformdirs.user_cache_path)


def user_folder(variable: str, usual: Callable[[str], Path]) -> Path:
    """Return the folder that an environment variable names, or the usual one of this system.

    Args:
        variable: Name of the environment variable.
        usual: Gives the usual folder of an application, as `platformdirs.user_cache_path`.

    Raises:
        StoreError: If there is neither.
    """
    if given := os.environ.get(variable):
        return expand_user(given)
    try:
        return usual("bridge")
    except RuntimeError as error:
        raise StoreError(
            "The user has no home folder.",
            cause="HOME is not set, and the system knows none.",
            remedy=f"Set {variable} to a folder.",
        ) from error


def expand_user(path: str | Path) -> Path:
    """Replace a leading `~` or `~name` by a home folder; where there is none, the path stays as it is.

    `Path.expanduser` raises a RuntimeError there.

    Args:
        path: A path as a user wrote it.

    Returns:
        The path; whether it exists is not looked at.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Args:
        path: The file; its folder is created, and an existing file is replaced.
        data: The whole content.

    Raises:
        StoreError: If the disk is full or read-only, or the folder is not writable.
    """
    write_pieces(path, [data])


def write_pieces(path: Path, pieces: Sequence[bytes | memoryview]) -> None:
    """Write a file atomically from pieces, without joining them in memory.

    Args:
        path: The file; its folder is created, and an existing file is replaced.
        pieces: The content, in order.

    Raises:
        StoreError: If the disk is full or read-only, or the folder is not writable.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.writelines(pieces)

    write_file(path, fill)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, which holds no NaN, as `write_bytes` does."""
    write_bytes(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode())


def need_free(out: str | Path | None) -> None:
    """Refuse to overwrite, before any work is done; what killed processes left beside `out` is deleted.

    Raises:
        UsageError: If `out` exists.
    """
    if out is None:
        return
    sweep_temporaries(Path(out).absolute().parent)
    if Path(out).exists():
        raise UsageError(f"{out} already exists; nothing is overwritten.", remedy="Choose another --out.")


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, fsync it, and rename it to `path`.

    Args:
        path: The file; its folder is created, and an existing file is replaced.
        write: Called with the temporary file's path.

    Raises:
        StoreError: If the disk is full or read-only, or the folder is not writable.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path) as temporary:
            write(temporary)
            sync_file(temporary)
            temporary.replace(path)
            _sync_folder(path.parent)


def write_new_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a temporary folder, and rename it to `folder`: an interrupted command leaves no part of it.

    Args:
        folder: The folder, which does not exist yet; the folders above it are created.
        fill: Called with the temporary folder's path, which it creates.

    Raises:
        StoreError: If the disk is full or read-only, or the folder is not writable.
    """
    temporary = temporary_name(folder.absolute())
    with writing(folder):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            fill(temporary)
            temporary.rename(folder)
            _sync_folder(temporary.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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


def sync_file(path: Path) -> None:
    """Flush a file to disk, so that after a crash a file name never exists without its content.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Flush a rename to disk; Windows cannot open folders and does not need this."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def unless_read_only() -> Iterator[None]:
    """Go on where a folder may not be written, for results that can do without being kept; other errors are raised.

    Returns:
        A context manager.

    Raises:
        StoreError: If the disk is full or failing: then a command would lose work that it could keep.
    """
    try:
        yield
    except StoreError as error:
        if getattr(error.__cause__, "errno", None) not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's errors from writing under `path` into errors with a remedy.

    Args:
        path: The file or folder that is written.

    Returns:
        A context manager.

    Raises:
        StoreError: In place of an `OSError`.
    """
    causes = {
        errno.ENOSPC: "The disk is full.",
        errno.EDQUOT: "Your disk quota is used up.",
        errno.EROFS: "The file system is read-only.",
        errno.EACCES: "You have no write permission there.",
        errno.EPERM: "You have no write permission there.",
        errno.ENOTDIR: "Part of that path is a file.",
        errno.EEXIST: "Part of that path is a file.",
    }
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} could not be written ({error.strerror or error}).",
            cause=causes.get(error.errno or 0, ""),
            remedy="Free some space or set BRIDGE_CACHE_DIR or --out to a writable folder; "
            "finished work is kept, and the same command continues from there.",
        ) from error
