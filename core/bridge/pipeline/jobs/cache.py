"""What the cache holds, entry by entry; an entry is what is computed, verified and deleted as a whole."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bridge.claims import is_claimed
from bridge.errors import BridgeError
from bridge.files import writing
from bridge.files.json import read_json
from bridge.files.temporaries import is_locked, temporary_name
from bridge.pipeline.fit.record import BRIDGE_RECORD

KINDS = {
    "activations": "activations of a model at a site over a corpus",
    "bridges": "bridges that commands fitted",
    "checkpoints": "GGUF files, unpacked",
    "explanations": "answers of verbalizers",
    "served": "answers of model servers",
    "perplexities": "tests that a model is trained",
    "self-checks": "tests that a model computes as before",
    "whole-weights": "tests that weights are complete",
    "hashes": "hashes of files",
    "sources": "what sources of activations support",
}
"""Kinds of entries, which are folders of the cache. Others, such as `models`, are not touched: they are the user's."""

_NAME = re.compile(r"[0-9a-f]{16,64}(\.jsonl?)?")


@final
@dataclass(frozen=True)
class Entry:
    """One entry of the cache.

    Attributes:
        kind: A key of `KINDS`.
        path: Its folder or file.
        about: The model and site, or the pair, as far as the entry says so.
        size: Bytes of its files.
        written: Time of the last change, in s since 1970.
        used: Time of the last read or change, as far as the file system records reads.
    """

    kind: str
    path: Path
    about: str
    size: int
    written: float
    used: float

    def is_held(self) -> bool:
        """Tell whether a living process writes the entry: it holds a claim, the lock or a temporary file."""
        beside = self.path.iterdir() if self.path.is_dir() else self.path.parent.glob(f".{self.path.name}.*")
        for path in beside:
            if path.name.endswith(".claim") and is_claimed(path):
                return True
            if (path.name == ".lock" or path.name.endswith(".tmp")) and path.is_file() and is_locked(path):
                return True
        return False

    def document(self) -> dict[str, Any]:
        """Return the entry as JSON."""
        return {**self.__dict__, "path": str(self.path)}


def entries(root: Path) -> Iterator[Entry]:
    """Yield the entries of a cache, kind by kind.

    Args:
        root: The folder of the cache; it may be missing or read-only.
    """
    for kind in KINDS:
        for path in sorted((root / kind).glob("*")):
            if _NAME.fullmatch(path.name) and not path.is_symlink():
                with contextlib.suppress(FileNotFoundError):  # another process deletes it
                    yield _entry(kind, path)


def remove(found: Sequence[Entry], advance: Callable[[Entry], object]) -> list[Entry]:
    """Delete entries, unless a living process writes them.

    Args:
        found: The entries.
        advance: Called with each entry that was deleted.

    Returns:
        The entries that are still there because they are held.

    Raises:
        StoreError: If the cache cannot be written.
    """
    held = []
    for entry in found:
        if entry.is_held():
            held.append(entry)
            continue
        with writing(entry.path):
            if entry.path.is_dir():
                # Under another name first: no process finds half of an entry.
                gone = temporary_name(entry.path)
                entry.path.rename(gone)
                shutil.rmtree(gone)
            else:
                entry.path.unlink(missing_ok=True)
        advance(entry)
    return held


def _entry(kind: str, path: Path) -> Entry:
    files = [one.stat() for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file()]
    times = files or [path.stat()]
    return Entry(
        kind,
        path,
        _about(path),
        sum(one.st_size for one in files),
        max(one.st_mtime for one in times),
        max(max(one.st_mtime, one.st_atime) for one in times),
    )


def _about(path: Path) -> str:
    with contextlib.suppress(BridgeError):
        if (path / "recipe.json").is_file():
            recipe = read_json(path / "recipe.json", dict[str, Any])
            return f"{recipe.get('model', '')} @ {recipe.get('site', '')}"
        if (path / BRIDGE_RECORD).is_file():
            record = read_json(path / BRIDGE_RECORD, dict[str, Any])
            return f"{record.get('src', '')} -> {record.get('dst', '')}, {record.get('map', '')}"
    return ""
