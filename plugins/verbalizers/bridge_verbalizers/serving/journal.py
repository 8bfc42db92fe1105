"""A journal of a server's answers: an answered request is not repeated, even after a crash; a damaged answer is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import final

from bridge.errors import StoreError
from bridge.files import cache_folder
from bridge.files.bounded import plain_lines


@final
class Journal:
    """Answers by key, one JSON object per line, with a hash; incomplete and damaged lines are left out.

    Attributes:
        path: The file.
        answers: All stored answers by key.

    Raises:
        StoreError: If the file exists and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, str] = {}
        with _telling(path):
            lines = list(plain_lines(path)) if path.exists() else []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry == self._entry(str(entry.get("key")), str(entry.get("text"))):
                    self.answers[entry["key"]] = entry["text"]

    @contextlib.contextmanager
    def writing(self) -> Iterator[Callable[[str, str], None]]:
        """Open the file and yield the function that stores an answer: key, text.

        Raises:
            StoreError: If the file cannot be written.
        """
        with _telling(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("ab+")
        with file:

            def keep(key: str, text: str) -> None:
                with _telling(self.path):
                    # ASCII, because a model's text may hold half a surrogate pair, which UTF-8 cannot encode.
                    file.write(json.dumps(self._entry(key, text)).encode("ascii") + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                self.answers[key] = text

            with _telling(self.path):
                # An answer appended to an incomplete line would be lost with it.
                if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                    file.write(b"\n")
            yield keep

    def _entry(self, key: str, text: str) -> dict[str, str]:
        hashed = digest(*(part.encode("utf-8", "surrogatepass") for part in (self.path.name, key, text)))
        return {"key": key, "text": text, "hash": hashed}


def journal_of(*identity: bytes) -> Journal:
    """Return the journal, in the user's cache folder, for the data that answers depend on."""
    return Journal(cache_folder() / "served" / f"{digest(*identity)}.jsonl")


def digest(*parts: bytes) -> str:
    """Hash parts, each with its length, so that the boundaries between parts matter."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.hexdigest()[:32]


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The journal {path} cannot be used ({error}).",
            cause="The disk is full, or the folder is not yours.",
            remedy="Make room, or point BRIDGE_CACHE_DIR at another folder.",
        ) from error
