"""Reading TOML of unknown sources."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from bridge.files.bounded import read_text

PARTS = 64
"""Maximal number of dots before the first `=` of a line: `tomllib` takes time and memory by their square."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is not TOML in UTF-8.
        BridgeError: If it is larger than the limit `settings`.
    """
    return parse_toml(read_text(path, "settings"))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document; deep nesting and keys of very many parts are errors as any other.

    Raises:
        ValueError: If the text is not TOML.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line.partition("=")[0].count(".") > PARTS:
            raise ValueError(f"line {number} has a key of more than {PARTS} parts")
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
