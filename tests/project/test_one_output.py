"""One module writes to the terminal; nothing else of the core touches the streams."""

from __future__ import annotations

import re
from pathlib import Path

import bridge

CORE = Path(bridge.__file__).parent
STREAMS = re.compile(
    r"(?<![.\w])print\(|sys\.__?(stdout|stderr)|sys\.(stdout|stderr)|click\.(echo|secho|style)|\bConsole\(|redirect_std(out|err)"
    r"|os\.write\((1|2),|traceback\.print_stack"
)


def test_only_the_terminal_writes_to_the_streams() -> None:
    for path in CORE.rglob("*.py"):
        if path != CORE / "terminal.py" and "templates" not in path.parts:
            found = [line for line in path.read_text(encoding="utf-8").split("\n") if STREAMS.search(line)]
            assert not found, (path, found)
