"""Writing files and folders atomically, with errors that state the remedy."""

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
from bridge.files.temporaries import sweep_temporaries, temporary_file, temporary_name

__all__ = ["sync_file", "write_bytes", "write_file", "write_pieces", "writing"]


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
    """Write one JSON document, as `write_bytes` does.

    Args:
        path: The file; its folder is created, and an existing file is replaced.
        value: JSON, without NaN.
    """
    write_bytes(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode())


def need_free(out: str | Path | None) -> None:
    """Refuse to overwrite, before any work is done; what killed processes left beside `out` is deleted.

    Args:
        out: The file or folder that is to be written; None for none.

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
