"""Zip archives of arrays: what they say that they unpack to, before anything is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

from bridge.files.bounded import need_room
from bridge.files.limits import need_within

__all__ = ["need_unpacked"]


def need_unpacked(path: Path, file: BinaryIO) -> None:
    """Refuse an archive that unpacks to more than the limits allow, or that holds two members of one name.

    No reader unpacks more of a member than the directory of the archive says, so what it says is enough to know.

    Args:
        path: Path of the archive.
        file: The archive, open for reading; it is left at its beginning. Other files than archives pass.

    Raises:
        ValueError: If two members have one name, or the directory is damaged.
        BridgeError: If the archive exceeds the limit `arrays` and twice its size, or the limit `entries`.
    """
    if zipfile.is_zipfile(file):
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(str(error)) from error
        need_within("entries", len(members), str(path))
        need_room(path, sum(member.file_size for member in members))
        if len({member.filename for member in members}) < len(members):
            raise ValueError("two members have one name")
    file.seek(0)
