"""Reading JSON and JSON Lines with a schema; an error names the invalid place of the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bridge.errors import BridgeError
from bridge.files.bounded import plain_lines, read_text

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
    return _validated(path, lines, lambda: _values(plain_lines(path)), remedy)


def parsed(path: Path, kind: type[T], parse: Callable[[str], Any], remedy: str) -> T:
    """Read a file as a value of the type `kind`, from its text by `parse`; errors as for `read_json`."""
    return _validated(path, kind, lambda: parse(read_text(path)), remedy)


def _values(lines: Iterator[bytes]) -> Iterator[Any]:
    """Yield the value of each line; they are validated one by one, so that a long file needs little memory."""
    for line in lines:
        if line != b"\n":
            yield json.loads(line.decode("utf-8"))


def _validated(path: Path, kind: type[T], read: Callable[[], Any], remedy: str) -> T:
    try:
        return TypeAdapter(kind).validate_python(read())
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "iteration_error":
            raise BridgeError(
                f"{path} cannot be read.", cause=_unreadable(first["ctx"]["error"]), remedy=remedy
            ) from error
        cause = f"{'.'.join(map(str, first['loc'])) or 'Its content'}: {first['msg']}."
    except FileNotFoundError:
        cause = "The file does not exist."
    except (OSError, ValueError, RecursionError) as error:
        cause = _unreadable(error)
    raise BridgeError(f"{path} cannot be read.", cause=cause, remedy=remedy)


def _unreadable(error: object) -> str:
    return f"The file is not JSON in UTF-8 ({error})."
