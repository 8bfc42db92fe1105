"""Reading JSON and JSON Lines with a schema; an error names the invalid place of the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bridge.bounded import read_text
from bridge.errors import BridgeError

__all__ = ["read_json", "read_json_lines"]

T = TypeVar("T")

AGAIN = "Copy the file again, or repeat the command that wrote it: cached activations make that fast."


def read_json(path: Path, kind: type[T], remedy: str = AGAIN) -> T:
    """Read a file as a value of the type `kind`.

    Args:
        path: UTF-8 text.
        kind: A dataclass, a pydantic model, or a type of them such as `list[Metric]`.
        remedy: Remedy in the error message.

    Raises:
        BridgeError: If the file is missing, too large, is not JSON, or does not fit the type.
    """
    return parsed(path, kind, json.loads, remedy)


def read_json_lines(path: Path, kind: type[T], remedy: str = AGAIN, *, missing: bool = False) -> list[T]:
    """Read the records of JSON Lines, each as a value of the type `kind`.

    Args:
        path: UTF-8 text; only a newline ends a record, because texts may hold U+2028, which JSON does not escape.
        kind: As for `read_json`.
        remedy: Remedy in the error message.
        missing: Whether a missing file is allowed and gives no records.

    Raises:
        BridgeError: If the file is missing, too large, a line is not JSON, or a record does not fit the type.
    """
    if missing and not path.is_file():
        return []
    lines: type[list[T]] = list[kind]  # type: ignore[valid-type]
    return parsed(path, lines, lambda text: [json.loads(line) for line in text.split("\n") if line], remedy)


def parsed(path: Path, kind: type[T], parse: Callable[[str], Any], remedy: str) -> T:
    """Read a file as a value of the type `kind`, from its text by `parse`; errors as for `read_json`."""
    try:
        return TypeAdapter(kind).validate_python(parse(read_text(path)))
    except ValidationError as error:
        first = error.errors()[0]
        cause = f"{'.'.join(map(str, first['loc'])) or 'Its content'}: {first['msg']}."
    except FileNotFoundError:
        cause = "The file does not exist."
    except (OSError, ValueError, RecursionError) as error:
        cause = f"The file is not JSON in UTF-8 ({error})."
    raise BridgeError(f"{path} cannot be read.", cause=cause, remedy=remedy)
