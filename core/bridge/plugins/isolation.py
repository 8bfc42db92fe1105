"""Isolation of plugins from each other, and attribution of errors to plugins."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points

from bridge.terminal import complain

GROUP = "bridge"
UNKNOWN = "unknown"
"""Placeholder for the name and version of a package that cannot be found."""

HOST = "residual-bridge"
"""The distribution of the core, whose plugins are not foreign."""

PATIENCE = 10.0
"""Seconds after which a message names a plugin that is still being imported."""


def written_for_another(error: BaseException) -> bool:
    """Tell whether a plugin imports names that this version of bridge does not have."""
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "bridge"


@contextlib.contextmanager
def impatient(name: str, distribution: str) -> Iterator[None]:
    """Name a slow plugin on standard error: an import cannot be stopped from within, but the user can interrupt it."""
    timer = threading.Timer(PATIENCE, _complain, [name, distribution])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def described(error: BaseException) -> str:
    """Return an error as a text that names the plugin of another distribution that raised it."""
    plugin = getattr(error, "raised_by_plugin", "")
    return f"{type(error).__name__}: {error}" + (f" (raised by the plugin {plugin})" if plugin else "")


def culprit(error: BaseException, found: Iterable[EntryPoint] | None = None) -> str:
    """Return the plugin whose code raised an error, as `distribution:name`; empty if it was not a plugin.

    Args:
        error: The error with its traceback.
        found: The entry points to search; default: the group `bridge`.
    """
    if guarded := getattr(error, "raised_by_plugin", ""):
        return str(guarded)
    modules: list[str] = []
    step = error.__traceback__
    while step:
        modules.insert(0, str(step.tb_frame.f_globals.get("__name__", "")))
        step = step.tb_next
    return owner_of(modules, found)


def owner_of(modules: Sequence[str], found: Iterable[EntryPoint] | None = None) -> str:
    """Return the plugin that the first known module belongs to, as `distribution:name`; empty if none does.

    Args:
        modules: Names of modules, the innermost first.
        found: The entry points to search; default: the group `bridge`.
    """
    entries = list(entry_points(group=GROUP) if found is None else found)
    # Compare the module before its package, because several plugins and helpers may share a package.
    for depth in (None, 1):
        for module in modules:
            for entry in entries:
                if f"{module}.".startswith(f"{'.'.join(entry.module.split('.')[:depth])}."):
                    return f"{distribution_of(entry)}:{entry.name}"
    return ""


def distribution_of(entry: EntryPoint) -> str:
    """Return the name of the distribution of an entry point."""
    return entry.dist.name if entry.dist else UNKNOWN


def _complain(name: str, distribution: str) -> None:
    explanations = (
        f"Still importing the plugin {name} of {distribution} after {PATIENCE:g} s. If it hangs, interrupt (Ctrl-C), "
        f"set BRIDGE_DISABLE_PLUGINS={distribution}:{name}, and report it to its authors."
    )
    complain(explanations)
