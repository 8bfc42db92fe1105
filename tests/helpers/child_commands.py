"""The command line in child processes that start at once: a server forks them with everything imported."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import final

PRELOADED = ["child_commands", "bridge.cli.run", "bridge.pipeline.jobs.run", "bridge.pipeline.jobs.sweep"]


def started() -> ForkServerContext:
    """Return a context whose server has imported the command line, and torch with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def perform(
    arguments: list[str], environment: dict[str, str], said: Path, prepare: Callable[[], None] | None, folder: Path
) -> None:
    """Run a command in this process, which belongs to it alone; its output goes to a file."""
    os.environ.update(environment)
    os.chdir(folder)
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if prepare is not None:
        prepare()
    from bridge.cli import main

    main(arguments)
    sys.exit(0)


@final
class Child:
    """One command that runs.

    Args:
        arguments: What follows `bridge`.
        cache: The cache folder.
        said: The file that its output goes to.
        folder: Its working directory.
        prepare: Called in the child before the command.
    """

    def __init__(
        self, arguments: list[str], cache: Path, said: Path, folder: Path, prepare: Callable[[], None] | None = None
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if name.startswith("BRIDGE_")}
        environment["BRIDGE_CACHE_DIR"] = str(cache)
        self.said = said
        self.process = started().Process(target=perform, args=(arguments, environment, said, prepare, folder))
        self.process.start()
        self.begun = time.monotonic()

    def kill(self) -> bool:
        """Kill the process with SIGKILL; False if it had ended."""
        alive = self.process.is_alive()
        if alive:
            os.kill(self.process.pid or 0, signal.SIGKILL)
        self.process.join()
        return alive

    def end(self, patience: float = 300) -> int:
        """Wait for the end; gives the exit code."""
        self.process.join(patience)
        if self.process.is_alive():
            self.kill()
            raise AssertionError(f"still running after {patience:g} s: {self.output()}")
        return self.process.exitcode or 0

    def output(self) -> str:
        """What it has written to its streams."""
        return self.said.read_text(errors="replace") if self.said.exists() else ""


def done(arguments: list[str], cache: Path, said: Path, folder: Path) -> float:
    """Run a command to its end, which must be a good one; gives its seconds."""
    child = Child(arguments, cache, said, folder)
    code = child.end()
    assert code == 0, (arguments, code, child.output())
    return time.monotonic() - child.begun


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
