"""Reading JSON and JSON Lines by a schema: a file is what it should be, or refused with the place that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bridge.errors import BridgeError

__all__ = ["read_json", "read_json_lines"]

T = TypeVar("T")

AGAIN = "Copy it again, or run the command that made it again: cached activations make that quick."


def read_json(path: Path, kind: type[T], remedy: str = AGAIN) -> T:
    """Read a file as what `kind` says.

    Args:
        path: UTF-8 text.
        kind: A dataclass, a pydantic model, or a type of them such as `list[Metric]`.
        remedy: What to do where it is refused.

    Raises:
        BridgeError: If the file is missing, is no JSON, or is not of this kind.
    """
    return _read(path, kind, json.loads, remedy)


def read_json_lines(path: Path, kind: type[T], remedy: str = AGAIN, *, missing: bool = False) -> list[T]:
    """Read the records of JSON Lines, each as what `kind` says.

    Args:
        path: UTF-8 text; nothing but a newline ends a record, since texts may hold U+2028, which JSON does not escape.
        kind: As for `read_json`.
        remedy: What to do where the file is refused.
        missing: Whether there may be no such file, and then no records.

    Raises:
        BridgeError: If the file is missing, a line is no JSON, or a record is not of this kind.
    """
    if missing and not path.is_file():
        return []
    lines: type[list[T]] = list[kind]  # type: ignore[valid-type]
    return _read(path, lines, lambda text: [json.loads(line) for line in text.split("\n") if line], remedy)


def _read(path: Path, kind: type[T], parse: Callable[[str], Any], remedy: str) -> T:
    try:
        return TypeAdapter(kind).validate_python(parse(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        cause = f"{'.'.join(map(str, first['loc'])) or 'Its content'}: {first['msg']}."
    except FileNotFoundError:
        cause = "It is not there."
    except (OSError, ValueError, RecursionError) as error:
        cause = f"It is no JSON in UTF-8 ({error})."
    raise BridgeError(f"{path} cannot be read.", cause=cause, remedy=remedy)
