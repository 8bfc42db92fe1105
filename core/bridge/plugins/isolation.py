"""What keeps one plugin from hurting another, and names it where it does."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import IO

from bridge.errors import printable

GROUP = "bridge"
UNKNOWN = "unknown"
"""Stands for the name and version of a package that brings an entry point, and that is not to be found."""

ANY_FAULT = (Exception, SystemExit)
"""What a plugin may raise: anything. It must hurt no other, and the user must learn which one it was."""

PATIENCE = 10.0
"""Seconds after which a plugin that is still being imported is named."""


def written_for_another(error: BaseException) -> bool:
    """Tell whether a plugin asked for something of bridge that is not in this version of it."""
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "bridge"


@contextlib.contextmanager
def impatient(name: str, distribution: str) -> Iterator[None]:
    """Name a plugin on standard error if it takes long: nothing can stop an import from within, but the user can."""
    timer = threading.Timer(PATIENCE, _complain, [name, distribution, sys.stderr])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def culprit(error: BaseException, found: Iterable[EntryPoint] | None = None) -> str:
    """Return which plugin was at work when an error was raised, as `distribution:name`; empty where none was.

    Args:
        error: As it was caught, with its traceback.
        found: The entry points to choose from; those of the group `bridge` by default.
    """
    entries = list(entry_points(group=GROUP) if found is None else found)
    modules: list[str] = []
    step = error.__traceback__
    while step:
        modules.insert(0, str(step.tb_frame.f_globals.get("__name__", "")))
        step = step.tb_next
    # The module itself before its package: several plugins may share one, and helpers beside them.
    for depth in (None, 1):
        for module in modules:
            for entry in entries:
                if f"{module}.".startswith(f"{'.'.join(entry.module.split('.')[:depth])}."):
                    return f"{distribution_of(entry)}:{entry.name}"
    return ""


def distribution_of(entry: EntryPoint) -> str:
    """Return the name of the package that brings an entry point."""
    return entry.dist.name if entry.dist else UNKNOWN


def _complain(name: str, distribution: str, stream: IO[str]) -> None:
    explanations = (
        f"Still importing the plugin {name} of {distribution} after {PATIENCE:g} s. If it hangs, interrupt (Ctrl-C), "
        f"set BRIDGE_DISABLE_PLUGINS={distribution}:{name}, and tell its authors.\n"
    )
    stream.write(printable(explanations))
    stream.flush()
