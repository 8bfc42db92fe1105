"""Result files: one sealed JSON document per file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.files import need_free
from bridge.files.sealed import write_sealed

__all__ = ["need_free", "write_document"]


def write_document(out: str | Path | None, value: Any) -> None:
    """Write one JSON document if `out` is given.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    if out is not None:
        write_sealed(Path(out), value)
