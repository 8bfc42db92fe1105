"""Text with records: JSON Lines, JSON, and tables of comma- or tab-separated values."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.corpus.lines import BOM, Lines
from bridge.errors import CorpusError


def json_lines(lines: Lines) -> Iterator[Any]:
    """Yield the value of each line; blank lines are skipped.

    Only a newline ends a line: U+2028, U+2029 and NEL may occur within a JSON string. Byte order marks at the start of
    lines, which result from joining files, are skipped.

    Raises:
        CorpusError: With the number of a line that is not JSON.
    """
    for line in lines:
        lines.end_record()
        line = line.lstrip(BOM)
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CorpusError(f"Line {lines.number} of {lines.name} is not JSON ({error}).") from error


def json_records(text: str, name: str) -> list[Any]:
    """Return the records of a `.json` file: a list of objects, one object, or JSON Lines.

    Raises:
        CorpusError: If the text has none of these forms.
    """
    found = parsed_json(text)
    if found is None:
        return list(json_lines(Lines(io.StringIO(text), name)))
    records = found if isinstance(found, list) else [found]
    if not all(isinstance(record, Mapping) for record in records):
        raise CorpusError(
            f"{name} is JSON, but has no records.",
            remedy='Give a list of objects such as {"text": "..."}, or one object per line.',
        )
    return records


def parsed_json(text: str) -> Any:
    """Parse a whole text as JSON; return None if the text is not JSON."""
    try:
        return json.loads(text.lstrip(BOM))
    except (ValueError, RecursionError):
        return None


def is_json_line(line: str) -> bool:
    """Tell whether a line is a JSON object, which excludes prose."""
    return line.lstrip().startswith("{") and isinstance(parsed_json(line), dict)


def table_records(lines: Lines, delimiter: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table whose first row names the columns, including `text`.

    Raises:
        CorpusError: If the column `text` is missing, or a row has another length than the first row.
    """
    reader, name = csv.DictReader(lines, delimiter=delimiter, strict=True), lines.name
    try:
        if "text" not in (reader.fieldnames or []):
            columns = ", ".join(map(repr, (reader.fieldnames or [])[:8]))
            raise CorpusError(
                f"The table {name} has no column `text`; it has {columns or 'none'}.",
                remedy="Name the column of the texts `text` in the first row, or give JSON Lines.",
            )
        for row in reader:
            if None in row or None in row.values():
                raise CorpusError(
                    f"Line {reader.line_num} of {name} has other columns than the first row.",
                    cause="A text contains the separator or a line break and is not quoted.",
                    remedy="Write the table with a program that quotes fields, or give JSON Lines.",
                )
            lines.end_record()
            yield row
    except csv.Error as error:
        raise CorpusError(
            f"Line {reader.line_num} of {name} cannot be read as a table ({error}).", remedy="Give JSON Lines."
        ) from error
