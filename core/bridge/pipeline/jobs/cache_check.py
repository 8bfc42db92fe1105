"""Verifying entries of the cache: every file is hashed and compared with the hash that was written with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.files.json import read_json
from bridge.files.sealed import read_kept, sha256
from bridge.models.gguf import HASHES
from bridge.pipeline.fit.cache import OWNER
from bridge.pipeline.fit.record import BRIDGE_RECORD, read_record
from bridge.pipeline.jobs.cache import Entry
from bridge.store import Store

UNVERIFIED = ("served",)
"""Kinds whose files only the plugin can verify, which it does when it reads them."""


def faults(entry: Entry) -> list[str]:
    """Return what is damaged in an entry, one sentence each; shards that are not finished are no damage.

    Args:
        entry: The entry; nothing is written or deleted.
    """
    if entry.kind in UNVERIFIED:
        return []
    try:
        if not entry.path.is_dir():
            return _of_document(entry.path)
        if entry.kind == "bridges":
            return _of_bridge(entry.path)
        return _of_artifact(entry)
    except OSError as error:
        return [f"{entry.path} cannot be read ({error.strerror})."]


def _of_document(path: Path) -> list[str]:
    return [] if read_kept(path, Any) is not None else [f"{path} is not the file that was written."]


def _of_bridge(folder: Path) -> list[str]:
    try:
        read_record(folder)
    except BridgeError as error:
        return [error.what]
    same = read_kept(folder / OWNER, str) == sha256(folder / BRIDGE_RECORD)
    return [] if same else [f"{folder / OWNER} does not belong to {BRIDGE_RECORD}."]


def _of_artifact(entry: Entry) -> list[str]:
    folder, found = entry.path, []
    recipe = folder / "recipe.json"
    if recipe.is_file() and not _is_key(entry, recipe):
        found.append(f"{recipe} is not the recipe of this folder.")
    for document in sorted(folder.glob("*.json")):
        if document == recipe:
            continue
        found += wrong if (wrong := _of_document(document)) else _of_files(document)
    return found


def _of_files(document: Path) -> list[str]:
    """Compare the files that a document lists by hash: a sidecar its shard, a record of a checkpoint all files."""
    kept = read_kept(document, Any)
    if not isinstance(kept, dict):
        return []
    listed = {document.with_suffix(".safetensors"): kept["sha256"]} if "sha256" in kept else {}
    if document.name == HASHES:
        listed |= {document.parent / "checkpoint" / name: digest for name, digest in kept.get("files", {}).items()}
    return [
        f"{path} {'is not the file that was written' if path.is_file() else 'is missing'}."
        for path, digest in listed.items()
        if not path.is_file() or sha256(path) != digest
    ]


def _is_key(entry: Entry, recipe: Path) -> bool:
    try:
        found = read_json(recipe, dict[str, Any])
    except BridgeError:
        return False
    return Store(entry.path.parent.parent).artifact(entry.kind, found).path.name == entry.path.name
