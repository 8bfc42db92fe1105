"""How large input from unknown sources may be: stated here, checked before input is expanded, raised by the user."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, fields, replace
from typing import final

from bridge.errors import BridgeError, UsageError, did_you_mean

__all__ = ["Limits", "limits", "need_within"]

VARIABLE = "BRIDGE_LIMITS"
KB, MB, GB = 10**3, 10**6, 10**9
_UNITS = {"": 1, "KB": KB, "MB": MB, "GB": GB}
NUMBERS = ("blocks", "entries")
"""Limits that are no bytes."""

_SIZE = re.compile(r"(\d{1,15})\s*([KMG]B)?", re.IGNORECASE)


@final
@dataclass(frozen=True)
class Limits:
    """The largest accepted sizes, in bytes unless stated otherwise.

    Attributes:
        document: A JSON file, or a text file that is read as a whole. Python's objects take up to 25 times the bytes.
        settings: A YAML or TOML file. Parsers in Python are slow; that of TOML takes quadratic time for some keys.
        record: One line, row or paragraph of a corpus, for the same reason as `document`.
        corpus: The texts of a corpus in memory; with max_documents, only those up to that number.
        metadata: The header of a safetensors or GGUF file. That of a vocabulary of 262,144 tokens has 15 MB.
        vocabulary: A file of a checkpoint's tokenizer or configuration, which transformers reads whole.
        blocks: A number: layers of a model, as its configuration states. Libraries make lists and modules of them.
        entries: A number: values in the metadata of a GGUF file, tensors in a file, records in a parquet batch.
        arrays: The arrays of one file in memory, where that is more than twice the file.
    """

    document: int = 32 * MB
    settings: int = 256 * KB
    record: int = 32 * MB
    corpus: int = 4 * GB
    metadata: int = 64 * MB
    vocabulary: int = 200 * MB
    blocks: int = 2000
    entries: int = 2_000_000
    arrays: int = 1 * GB


def limits() -> Limits:
    """Return the limits, with those that `BRIDGE_LIMITS` raises or lowers, as in `record=200MB,arrays=8GB`.

    Returns:
        The limits.

    Raises:
        UsageError: If the variable names an unknown limit, or a value is no size.
    """
    known = [field.name for field in fields(Limits)]
    given: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        size = _SIZE.fullmatch(value)
        if name not in known:
            raise UsageError(f"{VARIABLE} names the unknown limit {name!r}.", remedy=did_you_mean(name, known))
        if not size:
            raise UsageError(
                f"{VARIABLE} gives {name} the size {value!r}.", remedy=f"Write a number of bytes, as in {name}=200MB."
            )
        given[name] = int(size[1]) * _UNITS[(size[2] or "").upper()]
    return replace(Limits(), **given)


def need_within(limit: str, found: int, what: str, *, at_least: bool = False) -> None:
    """Refuse input that exceeds a limit.

    Args:
        limit: Name of the limit, an attribute of `Limits`.
        found: The size of the input.
        what: What has this size, for the error message, as in `The line 3 of corpus.jsonl`.
        at_least: Whether the input was not measured to its end.

    Raises:
        BridgeError: Naming the limit, the size and how to raise the limit.
    """
    allowed: int = getattr(limits(), limit)
    if found <= allowed:
        return
    more = "at least " if at_least else ""
    raise BridgeError(
        f"{what} has {more}{_shown(limit, found)}, more than the limit {limit} of {_shown(limit, allowed)}.",
        cause="The file is damaged or another kind of file, or was made to fill the memory when it is read.",
        remedy=f"If you trust the file, raise the limit: set {VARIABLE}={limit}={_suggested(limit, found, at_least)}.",
    )


def _shown(limit: str, size: int) -> str:
    if limit in NUMBERS:
        return f"{size:,} {limit}"
    unit, factor = next(((unit, factor) for unit, factor in (("GB", GB), ("MB", MB)) if size >= factor), ("kB", KB))
    return f"{size / factor:,.1f} {unit}"


def _suggested(limit: str, found: int, at_least: bool) -> str:
    """Return a value that is large enough; for a size that was not measured to its end, four times what was found."""
    size = found * (4 if at_least else 1)
    if limit in NUMBERS:
        return str(size)
    return f"{math.ceil(size / GB)}GB" if size >= GB else f"{math.ceil(size / MB)}MB"
