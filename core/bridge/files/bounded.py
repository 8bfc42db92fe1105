"""Reading files of unknown sources: plain files only, and never more bytes than a limit allows."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bridge.files.limits import limits, need_within

__all__ = ["need_room", "open_plain", "plain_lines", "read_bytes", "read_text"]


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file for reading: a pipe would be waited for, and a device may have no end.

    Args:
        path: The file.

    Returns:
        The file, open in binary mode.

    Raises:
        OSError: If the path is missing, cannot be read, or is a folder, a pipe or a device.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is not a plain file", str(path))
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, limit: str = "document") -> bytes:
    """Read a whole file.

    Args:
        path: The file.
        limit: Name of the limit of its size, an attribute of `bridge.files.limits.Limits`.

    Returns:
        The content.

    Raises:
        OSError: As `open_plain`.
        BridgeError: If the file is larger than the limit.
    """
    allowed = getattr(limits(), limit)
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        need_within(limit, size, str(path))
        data = file.read(allowed + 1)
    need_within(limit, len(data), str(path), at_least=True)
    return data


def read_text(path: Path, limit: str = "document") -> str:
    """Read a whole file of UTF-8 text, with line ends as they are.

    Args:
        path: The file.
        limit: As for `read_bytes`.

    Returns:
        The text.

    Raises:
        OSError: As `open_plain`.
        UnicodeDecodeError: If the file is not UTF-8.
        BridgeError: If the file is larger than the limit.
    """
    return read_bytes(path, limit).decode("utf-8")


def plain_lines(path: Path) -> Iterator[bytes]:
    """Return the lines of a plain file, with their ends; the file is opened at once.

    Args:
        path: The file.

    Returns:
        An iterator that raises BridgeError at a line that exceeds the limit `record`.

    Raises:
        OSError: As `open_plain`.
    """
    file, most = open_plain(path), limits().record

    def lines() -> Iterator[bytes]:
        with file:
            while line := file.readline(most + 1):
                need_within("record", len(line), f"A line of {path}", at_least=True)
                yield line

    return lines()


def need_room(path: Path, needed: int) -> None:
    """Refuse a file whose arrays take much more memory than the file has bytes.

    Args:
        path: The file.
        needed: Bytes of all arrays in memory.

    Raises:
        OSError: If the file does not exist.
        BridgeError: If the arrays exceed the limit `arrays` and twice the file's size.
    """
    if needed > 2 * path.stat().st_size:
        need_within("arrays", needed, f"The content of {path}, expanded,")
