"""What fitting a lens came to, for people at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.report.table import print_rows
from bridge.terminal import say


def print_lens(record: Mapping[str, Any]) -> None:
    """Print what a lens is, and how it is used.

    Args:
        record: What `bridge.pipeline.jobs.lens` returned: JSON of the kind's own, and `file`.
    """
    plain = {name: value for name, value in record.items() if not isinstance(value, dict)}
    rows = [
        [name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)]
        for name, value in plain.items()
    ]
    print_rows(["of the lens", "value"], rows, title="A lens")
    say(f"Written to {record['file']}.")
