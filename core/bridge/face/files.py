"""What a call leaves in a file: one JSON document, over nothing that is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def need_free(out: str | Path | None) -> None:
    """Refuse a file that exists, before any work is done.

    Raises:
        UsageError: Naming it.
    """
    from bridge.pipeline.transfer.sae import need_free as refuse

    refuse(None if out is None else Path(out))


def write_document(out: str | Path | None, value: Any) -> None:
    """Write one JSON document, where a file was asked for.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    from bridge.files import write_bytes

    if out is not None:
        write_bytes(Path(out), json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode())
