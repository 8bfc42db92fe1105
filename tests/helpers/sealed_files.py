"""Sealed files and bound folders with other content: what is behind the hashes is tested, too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.files.sealed import sha256_of, write_sealed
from bridge.pipeline.fit.record import ARRAYS, BRIDGE_RECORD, METRICS, OPTIONS, RESULTS, SWEEP_CONFIG


def sealed(text: str) -> str:
    """Seal the text of an object, whatever follows its brace."""
    return f'{{\n  "sha256": "{hashlib.sha256(text.encode()).hexdigest()}",{text[1:]}'


def reseal(path: Path, change: Callable[[Any], Any] = lambda value: value) -> None:
    """Change a sealed document, or any JSON object, and seal it; a change in place returns None."""
    value = json.loads(path.read_text())
    value.pop("sha256", None)
    write_sealed(path, change(value) or value)


def unsealed(path: Path) -> Any:
    """Return what a sealed document holds besides hashes of files."""
    return {name: value for name, value in json.loads(path.read_text()).items() if name not in ("sha256", "files")}


def bind(folder: Path, change: Callable[[Any], Any] = lambda value: value) -> Path:
    """Change the record of a folder, and list the files there as they are now."""
    sweep = (folder / SWEEP_CONFIG).is_file()
    reseal(folder / (METRICS if sweep else BRIDGE_RECORD), change)
    files = sha256_of(folder, OPTIONS if sweep else (ARRAYS, *OPTIONS, *RESULTS))
    reseal(folder / (METRICS if sweep else BRIDGE_RECORD), lambda record: record | {"files": files})
    return folder
