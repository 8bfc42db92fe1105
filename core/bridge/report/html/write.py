"""Write the page; overwrite only pages that bridge wrote."""

from __future__ import annotations

import os
from pathlib import Path

from bridge.errors import UsageError
from bridge.files import write_bytes
from bridge.pipeline.jobs.results import read_input
from bridge.report.html.page import GENERATOR, render

REPORT = "report.html"
MARK = f'<meta name="generator" content="{GENERATOR}">'
HEAD = 2000
"""Number of leading bytes that contain the mark."""


def write_report(inputs: list[Path], out: Path) -> Path:
    """Make one page from result folders and files, and write it atomically.

    Raises:
        UsageError: If the file at `out` is not a report.
        BridgeError: If an input is damaged, or is not a result.
        StoreError: If the page cannot be written.
    """
    need_ours(out)
    write_bytes(out, render([read_input(path) for path in inputs], out).encode())
    return out


def need_ours(out: Path) -> None:
    """Refuse to overwrite a file that is not a report.

    Raises:
        UsageError: If `out` exists and is not a report.
    """
    if not os.path.lexists(out) or MARK.encode() in _head(out):
        return
    raise UsageError(
        f"{out} already exists and is not a report of bridge; it is not overwritten.",
        remedy="Choose another --out, or move the file and run `bridge report FOLDER`.",
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
