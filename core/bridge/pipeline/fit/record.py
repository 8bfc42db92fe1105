"""The records of result folders, which bind their files: `bridge.json`, and `metrics.json` of a sweep."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, final

from pydantic import BaseModel, ConfigDict, Field

from bridge.errors import BridgeError
from bridge.files.sealed import need_files, read_sealed, write_sealed

SCHEMA = 1
ARRAYS, BRIDGE_RECORD = "bridge.safetensors", "bridge.json"
CONFIG, SWEEP_CONFIG, CORPUS, NOTICED = "config.toml", "sweep.toml", "corpus.jsonl", "corpus.noticed.json"
METRICS, KEPT, DIRECTIONS = "metrics.json", "scored.safetensors", "directions.safetensors"
EXPLANATIONS, CONTEXTS, READINGS = "explanations.jsonl", "contexts.jsonl", "readings.jsonl"

OPTIONS = (CONFIG, SWEEP_CONFIG, CORPUS, NOTICED)
"""Names of files that repeat a command."""

RESULTS = (METRICS, KEPT, DIRECTIONS, EXPLANATIONS, CONTEXTS, READINGS)
"""Names of files with results, besides the bridge."""

WHOLE = (
    "Copy the whole folder again, or repeat the command that wrote it with the same --out: cached activations make "
    "that fast. To share the bridge alone, save it: bridge.load(FOLDER).save(NEW)."
)
EDIT = "Copy the file again, or repeat the command. To change options, edit a copy of the file outside of the folder."


@final
class BridgeRecord(BaseModel):
    """The description of a saved bridge, and the SHA-256 of the files that were written with it, by name."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)

    version: int = Field(default=SCHEMA, alias="schema")
    src: str
    dst: str
    map: str
    map_options: dict[str, Any]
    d_src: int
    d_dst: int
    way_back: bool = False
    files: dict[str, str]
    provenance: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the record into a folder, after the files that it lists.

        Raises:
            StoreError: If the disk is full or read-only.
        """
        write_sealed(folder / BRIDGE_RECORD, self.model_dump(by_alias=True))


@final
class Listed(BaseModel):
    """What every record of a folder lists: the SHA-256 of the files that were written with it, by name."""

    files: dict[str, str]


def read_record(folder: Path) -> BridgeRecord:
    """Read the record of a folder, and check that all files of the folder were written with it.

    Raises:
        BridgeError: If the record is missing or damaged, or was written by a newer version.
        CorruptArtifactError: If a file is missing, damaged, or from another bridge.
    """
    path = folder / BRIDGE_RECORD
    remedy = "Give a folder that `bridge run`, `bridge fit` or Bridge.save wrote, or repeat the command."
    found = read_sealed(path, BridgeRecord, remedy)
    if found.version != SCHEMA:
        raise BridgeError(
            f"{path} has schema {found.version}; this version of bridge reads schema {SCHEMA}.",
            cause="The file was written by a newer version.",
            remedy="Upgrade residual-bridge.",
        )
    need_files(path, found.files, (ARRAYS, *OPTIONS, *RESULTS), WHOLE)
    return found


def need_bound(options: Path) -> None:
    """Refuse `config.toml` or `sweep.toml` of a result folder if options or corpus were changed there.

    Beside no record, or beside one that cannot be read, they are an ordinary experiment file.

    Args:
        options: A file of options.

    Raises:
        CorruptArtifactError: If it is not the file that was written with the record.
    """
    if options.name not in (CONFIG, SWEEP_CONFIG):
        return
    record, files = options.with_name(METRICS if options.name == SWEEP_CONFIG else BRIDGE_RECORD), None
    with contextlib.suppress(BridgeError):
        files = read_sealed(record, Listed).files
    if files is not None:
        need_files(record, {name: files[name] for name in OPTIONS if name in files}, OPTIONS, EDIT)
