"""Text of unknown sources, line by line: files and streams of any length, with lines and records of bounded length."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO, final

from bridge.errors import CorpusError
from bridge.files.bounded import open_plain
from bridge.files.limits import limits, need_within

BOM = "\ufeff"
DESCRIPTORS = Path("/dev/fd")
"""Pipes of the shell, as in `--corpus <(zcat texts.gz)`: they are open already, so nobody waits for a writer."""


@final
class Lines:
    """The lines of a stream, each with its line end.

    Args:
        stream: Text.
        name: Name of the stream, for error messages.

    Attributes:
        number: Number of the line that was read last, from 1.
    """

    def __init__(self, stream: IO[str], name: str) -> None:
        self._stream, self.name, self.number = stream, name, 0
        self._most, self._record, self._ahead = limits().record, 0, ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """Return the next line.

        Raises:
            StopIteration: At the end.
            CorpusError: If the stream is not UTF-8, is binary, or cannot be read.
            BridgeError: If the lines since the last call of `end_record` exceed the limit `record`.
        """
        if self._ahead:
            line, self._ahead = self._ahead, ""
            return line
        try:
            line = self._stream.readline(self._most + 1)
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{self.name} is not UTF-8 text{self._place(error)}.",
                cause="The file is binary or has another encoding.",
                remedy="Convert the file, for example with `iconv -f latin1 -t utf-8`.",
            ) from error
        except OSError as error:
            raise CorpusError(f"{self.name} cannot be read ({error.strerror}).") from error
        if not line:
            raise StopIteration
        self.number += 1
        self._record += len(line)
        need_within("record", self._record, f"The record in line {self.number} of {self.name}", at_least=True)
        if "\0" in line:
            raise CorpusError(f"{self.name} is binary, not text.", remedy="Give text, JSON Lines, a table or parquet.")
        return line

    def peek(self) -> str:
        """Return the next line that is not blank, which remains the next line; empty at the end."""
        self._ahead = next((line for line in self if line.strip().strip(BOM)), "")
        return self._ahead

    def end_record(self) -> None:
        """Count the next line as the first of a record."""
        self._record = 0

    def _place(self, error: UnicodeDecodeError) -> str:
        """Return the byte of a file that is not UTF-8: the error counts from the start of the part that was decoded."""
        raw: Any = getattr(self._stream, "buffer", None)
        try:
            return f" (byte {raw.tell() - len(error.object) + error.start})"
        except (AttributeError, OSError):
            return ""


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a file of UTF-8 text, with or without a byte order mark.

    Args:
        path: A plain file, or a pipe of the shell.

    Raises:
        CorpusError: If the file cannot be opened, or is a folder, a device or another pipe.
    """
    try:
        pipe = path.parent == DESCRIPTORS and path.is_fifo()
        raw = path.open("rb") if pipe else open_plain(path)
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be read ({error.strerror}).",
            remedy="Give a plain file, or pipe the text into `--corpus -`." if path.exists() else "",
        ) from error
    with raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as text:
        yield text
