"""The command line in processes of its own that start at once and end as Python ends: a server forks them.

As a script it is the server: it imports torch and the commands, reads one request a line, and forks for each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

PATIENCE = 60.0
"""Seconds after which a command counts as hanging."""


@final
@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (negative for a signal), both streams, and its seconds."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        """Standard error as one line."""
        return " ".join(self.err.split())


@final
class Server:
    """Forks commands; close it with `end`."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__)), "serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def bridge(
        self,
        arguments: Sequence[object],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        sites: Sequence[Path] = (),
        interrupts: Sequence[float] = (),
    ) -> Ended:
        """Run a command.

        Args:
            arguments: What follows `bridge`.
            folder: Its working directory, in which its streams are kept.
            environment: Variables that are set besides those of this process that begin with BRIDGE_.
            sites: Folders of installed packages.
            interrupts: Seconds after which it gets a SIGINT.
        """
        assert self._process.stdin and self._process.stdout
        own = {name: value for name, value in os.environ.items() if name.startswith("BRIDGE_")}
        request = {
            "arguments": [str(one) for one in arguments],
            "folder": str(folder),
            "environment": own | dict(environment or {}),
            "sites": [str(one) for one in sites],
            "interrupts": list(interrupts),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code, seconds = json.loads(self._process.stdout.readline())
        streams = [(folder / name).read_text(encoding="utf-8", errors="replace") for name in ("said.out", "said.err")]
        return Ended(code, streams[0], streams[1], seconds)

    def end(self) -> None:
        """Stop the server."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve() -> bool:
    """Serve requests; return True in a forked child, which then is the command."""
    import importlib

    for name in ("torch", "transformers", "bridge.pipeline.jobs.run", "bridge.cli.run", "bridge.report.html"):
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    while line := sys.stdin.readline():
        request = json.loads(line)
        child = os.fork()
        if not child:
            _become(request)
            return True
        begun = time.monotonic()
        code = _wait(child, begun, list(request["interrupts"]))
        answers.write(json.dumps([code, time.monotonic() - begun]) + "\n")
        answers.flush()
    return False


def _become(request: dict[str, Any]) -> None:
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    sys.path[:0] = request["sites"]
    sys.argv = ["bridge", *request["arguments"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "said.out"), (2, "said.err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _wait(child: int, begun: float, interrupts: list[float]) -> int | str:
    while time.monotonic() < begun + PATIENCE:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if interrupts and time.monotonic() > begun + interrupts[0]:
            os.kill(child, signal.SIGINT)
            del interrupts[0]
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "it hung"


if __name__ == "__main__" and serve():
    from bridge.cli import main

    main()
