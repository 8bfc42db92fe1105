"""Writing the page, over nothing but a page that we wrote."""

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
"""Bytes in which the mark stands."""


def write_report(inputs: list[Path], out: Path) -> Path:
    """Make one page of folders and files that commands left, and write it whole or not at all.

    Raises:
        UsageError: If there is a file at `out` that is no report.
        BridgeError: If an input is damaged, or is none that commands leave.
        StoreError: If the page cannot be written.
    """
    need_ours(out)
    write_bytes(out, render([read_input(path) for path in inputs], out).encode())
    return out


def need_ours(out: Path) -> None:
    """Refuse to overwrite anything but a report.

    Raises:
        UsageError: Naming it.
    """
    if not os.path.lexists(out) or MARK.encode() in _head(out):
        return
    raise UsageError(
        f"{out} already exists and is no report of bridge; nothing is overwritten.",
        remedy="Choose another --out, or move it away and run `bridge report FOLDER`.",
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
