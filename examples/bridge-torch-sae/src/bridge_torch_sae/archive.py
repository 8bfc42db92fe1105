"""Reading a torch archive that nobody vouches for: looked at first, then held to its sums, then loaded without code."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError

PARAMETERS = frozenset({"pre_bias", "latent_bias", "encoder.weight", "decoder.weight"})

LARGEST_INDEX = 2**20
"""Bytes of the pickle in which a state dict's names stand; the tensors are not in it."""


def names_in(path: Path) -> set[str]:
    """Return which of the parameters a torch archive names; none for a file that is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            (index,) = (one for one in archive.infolist() if one.filename.endswith("/data.pkl"))
            head = archive.read(index) if index.file_size <= LARGEST_INDEX else b""
    except Exception:  # zipfile has an error for every way not to be one
        return set()
    # As pickle writes a short text: its length in four bytes, and the text.
    return {name for name in PARAMETERS if len(name).to_bytes(4, "little") + name.encode() in head}


def read_state(path: Path) -> dict[str, Any]:
    """Return the state dict, tensors on the CPU; nothing is unpickled but tensors and plain values.

    Raises:
        BridgeError: If the file is missing, not the one that was written, no such archive, or would run code.
    """
    import torch

    _check_digest(path)
    try:
        with zipfile.ZipFile(path) as archive:
            # torch does not compress, and a small archive could hold a huge one; nor does torch look at the sums.
            if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                raise zipfile.BadZipFile("it is compressed, and torch writes none that are")
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have errors of their own for damaged files
        said = str(error).split("\n")[0][:200]
        raise BridgeError(
            f"{path} is not a readable archive of tensors ({type(error).__name__}: {said}).",
            cause="It is missing, half-written or damaged, or a pickle that would run code, which is never done.",
            remedy="Fetch it again.",
        ) from error
    if not isinstance(state, dict):
        raise BridgeError(f"{path} holds {type(state).__name__}, and no state dict.", cause="It is of another layout.")
    return state


def _check_digest(path: Path) -> None:
    """Hold the file to `FILE.sha256` beside it, as sha256sum writes it, where there is one."""
    said = path.with_name(f"{path.name}.sha256")
    if not said.is_file():
        return
    try:
        expected = re.match(r"[0-9a-fA-F]{64}\b", said.read_text(encoding="utf-8", errors="replace"))
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BridgeError(f"{path} or {said.name} cannot be read ({error}).") from error
    if not expected or expected[0].lower() != found:
        raise BridgeError(
            f"{path} is not the file that {said.name} is of: its SHA-256 is {found}.",
            cause="One of them was fetched in half, changed, or belongs to something else.",
            remedy=f"Fetch both again, or remove {said.name} if you trust the file.",
        )
