"""What earlier commands left behind that ended while a plugin was at work."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from bridge.at_work.witness import HALF, record_folder
from bridge.errors import BridgeError


def ended_at_work() -> list[str]:
    """Return a sentence for each process that ended while a plugin was at work, and delete its record.

    Records of processes that live are left alone; a record that cannot be read is deleted.
    """
    try:
        records = sorted(record_folder().glob("*.record"))
    except (BridgeError, OSError):  # no cache, or one that cannot be read: the command itself says so
        return []
    said = []
    for record in records:
        with contextlib.suppress(OSError):  # another command reads it, or the cache is read-only
            said += _taken(record)
    return said


def _taken(record: Path) -> list[str]:
    from filelock import FileLock, Timeout

    lock = FileLock(record.with_suffix(".lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return []  # its process lives
    try:
        kept = record.read_bytes()
        record.unlink()
        Path(lock.lock_file).unlink()
        return _sentences(kept)
    finally:
        lock.release()


def _sentences(kept: bytes) -> list[str]:
    try:
        about, active = json.loads(kept[:HALF]), json.loads(kept[HALF:])
        process = f"process {about['pid']}, begun {about['began']}: {about['command']}"
    except (ValueError, TypeError, KeyError):
        return []
    if not isinstance(active, str) or not active:
        return []
    name = active.partition(" ")[0]
    return [
        f"An earlier command did not end normally ({process}). When the process ended, this plugin was at work: "
        f"{active}. If nobody ended the process, and the machine had enough memory, report it to the authors of the "
        f"plugin; BRIDGE_DISABLE_PLUGINS={name} disables it."
    ]
