"""`bridge.json`: the description of a saved bridge, written by `Bridge.save`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

from pydantic import BaseModel, ConfigDict, Field

from bridge.errors import BridgeError
from bridge.files import write_bytes
from bridge.json_files import read_json

SCHEMA = 1
BRIDGE_RECORD = "bridge.json"


@final
class BridgeRecord(BaseModel):
    """The description of a saved bridge, without its arrays."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)

    version: int = Field(default=SCHEMA, alias="schema")
    src: str
    dst: str
    map: str
    map_options: dict[str, Any]
    d_src: int
    d_dst: int
    arrays_sha256: str
    way_back: bool = False
    provenance: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the record into a folder.

        Raises:
            StoreError: If the disk is full or read-only.
        """
        data = json.dumps(self.model_dump(by_alias=True), indent=2, ensure_ascii=False)
        write_bytes(folder / BRIDGE_RECORD, data.encode())


def read_record(folder: Path) -> BridgeRecord:
    """Read the record of a folder.

    Raises:
        BridgeError: If the record is missing or damaged, or was written by a newer version.
    """
    path = folder / BRIDGE_RECORD
    remedy = "Give a folder that `bridge run`, `bridge fit` or Bridge.save wrote."
    found = read_json(path, BridgeRecord, remedy)
    if found.version != SCHEMA:
        raise BridgeError(
            f"{path} has schema {found.version}; this version of bridge reads schema {SCHEMA}.",
            cause="The file was written by a newer version.",
            remedy="Upgrade residual-bridge.",
        )
    return found
