"""Text that holds records: JSON Lines, JSON, and tables of comma- or tab-separated values."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.errors import CorpusError

BOM = "\ufeff"


def json_lines(text: str, name: str) -> Iterator[Any]:
    """Yield what each line holds; blank lines hold nothing.

    A line ends where JSON says so: U+2028, U+2029 and NEL may stand within a string. Byte order marks at the start of
    lines, as they are left by joining files, are passed over.

    Raises:
        CorpusError: With the number of a line that is not JSON.
    """
    for number, line in enumerate(io.StringIO(text), 1):
        line = line.lstrip(BOM)
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CorpusError(f"Line {number} of {name} is not JSON ({error}).") from error


def json_records(text: str, name: str) -> list[Any]:
    """Return the records of a `.json` file: a list of objects, one object, or JSON Lines.

    Raises:
        CorpusError: If it is none of these.
    """
    found = parsed_json(text)
    if found is None:
        return list(json_lines(text, name))
    records = found if isinstance(found, list) else [found]
    if not all(isinstance(record, Mapping) for record in records):
        raise CorpusError(
            f"{name} is JSON, and holds no records.",
            remedy='Give a list of objects such as {"text": "..."}, or one a line.',
        )
    return records


def parsed_json(text: str) -> Any:
    """Return what a whole text is as JSON; None if it is none."""
    try:
        return json.loads(text.lstrip(BOM))
    except (ValueError, RecursionError):
        return None


def is_json_line(text: str) -> bool:
    """Tell whether the first line of a text is a JSON object: prose begins otherwise."""
    first = text.lstrip().partition("\n")[0]
    return first.startswith("{") and isinstance(parsed_json(first), dict)


def table_records(text: str, name: str, delimiter: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table whose first row names the columns, one of which is `text`.

    Raises:
        CorpusError: If it has no such column, or rows of other lengths than the first.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        if "text" not in (reader.fieldnames or []):
            columns = ", ".join(map(repr, (reader.fieldnames or [])[:8]))
            raise CorpusError(
                f"The table {name} has no column `text`; it has {columns or 'none'}.",
                remedy="Name the column that holds the texts `text` in the first row, or give JSON Lines.",
            )
        for row in reader:
            if None in row or None in row.values():
                raise CorpusError(
                    f"Line {reader.line_num} of {name} has other columns than its first row.",
                    cause="A text holds the separator or a line break and is not quoted.",
                    remedy="Write it with a program that quotes, or give JSON Lines.",
                )
            yield row
    except csv.Error as error:
        raise CorpusError(
            f"Line {reader.line_num} of {name} cannot be read as a table ({error}).", remedy="Give JSON Lines."
        ) from error
