"""Sealed JSON: documents that hold the SHA-256 of their own text, of the files that belong to them, or of their place.

A sealed document is an object whose first line is its seal, `"sha256": "..."`: the hash of the text without that line.
Whatever bridge writes and reads back is sealed, or listed with its hash in a sealed document.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from bridge.errors import BridgeError, CorruptArtifactError
from bridge.files.json import AGAIN, parsed
from bridge.files.write import write_bytes

__all__ = ["read_kept", "write_kept"]

T = TypeVar("T")

_SEAL = re.compile(r'\{\n  "sha256": "([0-9a-f]{64})",')


class _Kept(BaseModel):
    place: str
    kept: Any


def sha256(path: Path) -> str:
    """Return a file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of those files of a folder that exist, by name."""
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, which is not empty and holds no NaN, with its seal, atomically.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f'{{\n  "sha256": "{_hash(text)}",{text[1:]}'.encode())


def read_sealed(path: Path, kind: type[T], remedy: str = AGAIN) -> T:
    """Read a sealed object as a value of the type `kind`.

    Raises:
        BridgeError: If the file is missing, is not JSON, or does not fit the type.
        CorruptArtifactError: If it has no seal or another one: it was damaged or edited, or an older version wrote it.
    """

    def opened(text: str) -> Any:
        seal = _SEAL.match(text)
        if seal and _hash(body := "{" + text[seal.end() :]) == seal[1]:
            return json.loads(body)
        cause = "Its first line is not the hash of its content: it was damaged or edited, or an older version wrote it."
        raise CorruptArtifactError(f"{path} is not the file that was written.", cause=cause, remedy=remedy)

    return parsed(path, kind, opened, remedy)


def write_kept(path: Path, value: Any) -> None:
    """Write JSON into the cache, sealed together with its place: its folder's and its own name.

    Args:
        path: The file; its folder is created, and an existing file is replaced.
        value: JSON, without NaN.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    write_sealed(path, {"place": _place(path), "kept": value})


def read_kept(path: Path, kind: type[T]) -> T | None:
    """Read what `write_kept` wrote to this place.

    Args:
        path: The file.
        kind: A type, a dataclass, a pydantic model, or a type of them such as `list[str]`.

    Returns:
        A value of the type `kind`; None if the file is missing, damaged, from another place or of another form, so that
        its content is to be computed again.
    """
    with contextlib.suppress(BridgeError, ValidationError):
        found = read_sealed(path, _Kept)
        if found.place == _place(path):
            return TypeAdapter(kind).validate_python(found.kept)
    return None


def need_files(record: Path, files: Mapping[str, str], known: Collection[str], remedy: str = AGAIN) -> None:
    """Refuse a folder whose files are not those that its record lists.

    Args:
        record: The document that lists them, in their folder.
        files: SHA-256 by name.
        known: Names of files that bridge would read there, and must therefore be listed if they exist.
        remedy: Remedy in the error message.

    Raises:
        CorruptArtifactError: Naming the file that is missing, differs or is not listed.
    """
    for name in sorted({*files, *known}):
        path = record.parent / name
        if name not in files and not path.exists():
            continue
        if name not in files:
            what, cause = (
                f"does not belong to {record}",
                "It is not listed there: it was added later, or is from another run.",
            )
        elif not path.is_file():
            what, cause = "is missing", f"{record.name} lists it: it was deleted, or not copied with the others."
        elif _has(path, files[name]):
            continue
        else:
            what = f"is not the file that was written with {record.name}"
            cause = "It does not have the hash that is listed there: it was damaged or edited, or is from another run."
        raise CorruptArtifactError(f"{path} {what}.", cause=cause, remedy=remedy)


def _has(path: Path, digest: str) -> bool:
    try:
        return sha256(path) == digest
    except OSError:
        return False


def _place(path: Path) -> str:
    return f"{path.absolute().parent.name}/{path.name}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
