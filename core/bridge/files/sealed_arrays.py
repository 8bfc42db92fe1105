"""Sealed safetensors: files whose metadata holds the SHA-256 of the whole file, computed while its digits are zeros.

Files of others have no seal, and are read as they are.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from bridge.files.bounded import open_plain
from bridge.files.limits import limits

__all__ = ["UNSEALED", "seal_arrays", "seal_holds"]

UNSEALED = {"file_sha256": "0" * 64}
"""What the JSON in the metadata of a file holds until it is sealed."""

_SEAL = re.compile(rb'file_sha256\\": ?\\"([0-9a-f]{64})\\"')
_LENGTH = 8
"""Number of bytes of the header's length, before the header."""


def seal_arrays(path: Path) -> None:
    """Replace the zeros in the metadata of a file by its hash, before the file gets its name.

    Args:
        path: A safetensors file; a value of its metadata is a JSON object with `UNSEALED`.

    Raises:
        ValueError: If the metadata have no such value.
    """
    seal = _SEAL.search(_header(path))
    if seal is None:
        raise ValueError(f"the metadata of {path} has no place for a seal")
    offset = _LENGTH + seal.start(1)
    digest = _hash(path, offset)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(digest.encode())


def seal_holds(path: Path, key: str) -> bool:
    """Tell whether a file is the one that was sealed, or one of others.

    Args:
        path: The file.
        key: The key of metadata that all sealed files of its kind have. Without it and without a seal, the file is one
            of others.

    Returns:
        Whether the file may be read.

    Raises:
        OSError: If the file cannot be read.
    """
    header = _header(path)
    seal = _SEAL.search(header)
    if seal is None:
        return f'"{key}"'.encode() not in header
    return _hash(path, _LENGTH + seal.start(1)) == seal[1].decode()


def _header(path: Path) -> bytes:
    with open_plain(path) as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        return file.read(min(length, limits().metadata))


def _hash(path: Path, offset: int) -> str:
    digits = len(UNSEALED["file_sha256"])
    with open_plain(path) as file:
        head = file.read(offset + digits)
        hashed = hashlib.sha256(head[:offset] + b"0" * digits)
        while block := file.read(2**20):
            hashed.update(block)
    return hashed.hexdigest()
