"""A layer under Python's files at which one chosen change fails: open, write, flush, rename, make a folder."""

from __future__ import annotations

import builtins
import io
import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import bridge

CORE = Path(bridge.__file__).parent
COMMON = "files/"
"""The package of core through which all others write: the place is who called it."""

CHANGES = {"os.rename": 2, "os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.link": 2, "os.truncate": 1}
"""Audit events of changes other than opening, and how many of their arguments are paths."""


def place() -> str:
    """Return the lines of core that led here, the innermost last: the three that asked for it, and the one that did."""
    frames = [one for one in traceback.extract_stack() if CORE in Path(one.filename).parents]
    names = [f"{Path(one.filename).relative_to(CORE)}:{one.lineno}" for one in frames]
    asked = [name for name in names if not name.startswith(COMMON)]
    return " > ".join([*asked[-3:], *names[-1:]])


@final
@dataclass
class FailingWrites:
    """Called in a process, it counts the writes below a folder by their places, or makes one of them fail.

    Args:
        below: The folder.
        seen: The file (outside of the folder) that receives the places as JSON, in the order of their first write.
        fail: The place whose first write fails; empty for none.
        number: The error's number.
    """

    below: str
    seen: str
    fail: str = ""
    number: int = 0

    def __call__(self) -> None:
        """Install the layer, for the rest of this process's life."""
        self.places: dict[str, int] = {}
        self.busy = False
        sys.addaudithook(self._hear)
        layer, fsync, plain = self, os.fsync, io.open

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                layer.tell("write", self.name)
                return super().write(data)

        def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if set(mode) & set("wax") and "b" in mode and not isinstance(file, int) and layer.covers(file):
                return io.BufferedWriter(File(file, mode.replace("b", "")))
            return plain(file, mode, *args, **options)

        def flushed(descriptor: int) -> None:
            layer.tell("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())
            fsync(descriptor)

        io.open = builtins.open = opened  # type: ignore[assignment]
        os.fsync = flushed  # type: ignore[assignment]

    def covers(self, path: Any) -> bool:
        """Tell whether a path lies below the folder."""
        return isinstance(path, str | os.PathLike) and Path(self.below) in Path(path).absolute().parents

    def tell(self, kind: str, path: Any) -> None:
        """Count a write, or let it fail.

        Raises:
            OSError: If this is the one.
        """
        if self.busy or not self.covers(path):
            return
        self.busy = True
        try:
            here = f"{kind}: {place()}"
            count = self.places[here] = self.places.get(here, 0) + 1
            descriptor = os.open(self.seen, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(descriptor, json.dumps(self.places).encode())
            os.close(descriptor)
        finally:
            self.busy = False
        if here == self.fail and count == 1:
            raise OSError(self.number, os.strerror(self.number), str(path))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.tell("open", arguments[0])
        elif event in CHANGES:
            self.tell(event, next((one for one in arguments[: CHANGES[event]] if self.covers(one)), None))
