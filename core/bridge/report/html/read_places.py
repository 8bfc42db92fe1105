"""Reading where features are active, and what was said of live activations."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bridge.errors import BridgeError
from bridge.pipeline.jobs.folder import CONTEXTS, READINGS
from bridge.pipeline.verbalize.contexts import Context
from bridge.pipeline.verbalize.records import ContextRecord, PositionRecord
from bridge.report.html.read_explanations import REMEDY, read_lines


def read_where(folder: Path) -> dict[int, ContextRecord]:
    """Return by feature where it is active; empty where there is no such file.

    Raises:
        BridgeError: If the file is damaged.
    """
    found: list[ContextRecord] = _read(folder / CONTEXTS, list[ContextRecord])
    for context in (context for one in found for context in one.contexts):
        if not _in_order(context):
            raise BridgeError(f"{folder / CONTEXTS} is damaged: a token lies outside of its text.", remedy=REMEDY)
    return {one.feature: one for one in found}


def read_positions(folder: Path) -> list[PositionRecord]:
    """Return the live activations that were read; empty where there is no such file.

    Raises:
        BridgeError: If the file is damaged, or an arm is missing somewhere.
    """
    found: list[PositionRecord] = _read(folder / READINGS, list[PositionRecord])
    if len({frozenset(one.said) for one in found}) > 1:
        raise BridgeError(f"{folder / READINGS} is damaged: its positions differ in arms.", remedy=REMEDY)
    return found


def _read(path: Path, kind: Any) -> Any:
    if not path.is_file():
        return []
    try:
        return TypeAdapter(kind).validate_python(list(read_lines(path)))
    except (OSError, ValueError, ValidationError) as error:
        raise BridgeError(f"{path} is damaged ({type(error).__name__}).", remedy=REMEDY) from error


def _in_order(context: Context) -> bool:
    places = [place for start, end, _ in context.spans for place in (start, end)]
    rising = all(low <= high for low, high in pairwise([0, *places, len(context.text)]))
    return rising and all(math.isfinite(value) for _, _, value in context.spans)
