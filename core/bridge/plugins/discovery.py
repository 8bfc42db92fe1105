"""Finds plugins by entry point, and isolates broken plugins."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import Distribution, EntryPoint, entry_points
from types import ModuleType

import pluggy

from bridge import hookspecs
from bridge.errors import PluginError
from bridge.plugins.checks import check_api
from bridge.plugins.guard import Guard
from bridge.plugins.isolation import GROUP, HOST, UNKNOWN, impatient, written_for_another
from bridge.plugins.registry import KINDS, ConflictError, Plugin, Registry
from bridge.terminal import aside, trace


def build_plugin_manager() -> pluggy.PluginManager:
    """Return a new manager with the hooks and without plugins; `BRIDGE_TRACE_PLUGINS=1` logs every hook call."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    if os.environ.get("BRIDGE_TRACE_PLUGINS") == "1":
        manager.trace.root.setwriter(trace)
        manager.enable_tracing()
    return manager


def discover(manager: pluggy.PluginManager | None = None, found: Iterable[EntryPoint] | None = None) -> Registry:
    """Load every enabled plugin; a broken plugin is recorded with its error and does not affect other plugins.

    Args:
        manager: The manager for the plugins' hooks; default: a new manager.
        found: The entry points; default: the group `bridge`. `BRIDGE_DISABLE_PLUGINS` and `BRIDGE_ONLY_PLUGINS` select
            entry points, by `name` or `distribution:name`, separated by commas.
    """
    manager = manager or build_plugin_manager()
    chosen = _enabled(entry_points(group=GROUP) if found is None else found)
    repeated = {name for name, count in Counter(plugin.name for plugin, _ in chosen).items() if count > 1}
    trusted = {entry.module.partition(".")[0] for plugin, entry in chosen if plugin.distribution == HOST}
    registry = Registry(trusted)
    for plugin, entry in chosen:
        registry.plugins.append(plugin)
        try:
            if plugin.name in repeated:
                others = [other.distribution for other, _ in chosen if other.name == plugin.name]
                raise ConflictError(
                    f"{' and '.join(others)} both have an entry point {entry.name}.",
                    remedy=f"Uninstall one, or set BRIDGE_DISABLE_PLUGINS={others[-1]}:{entry.name}.",
                )
            # Modules that are already imported need no timer.
            known = entry.module in sys.modules
            watched = contextlib.nullcontext() if known else impatient(plugin.name, plugin.distribution)
            # Plugins must not print to standard output, which may be a JSON document.
            passed = Guard(plugin.full_name).calling("import") if plugin.foreign else contextlib.nullcontext()
            with aside(), watched, passed:
                _activate(manager, registry, plugin, entry)
        except PluginError as error:
            registry.withdraw(plugin)
            plugin.error, plugin.remedy = error.what, error.remedy
            plugin.conflict = isinstance(error, ConflictError)
        except Exception as error:
            registry.withdraw(plugin)
            plugin.error = f"{type(error).__name__}: {error}"
            plugin.remedy = f"Report this to the authors of {plugin.distribution}, upgrade it, or uninstall it."
            if written_for_another(error):
                plugin.remedy = f"It was written for another residual-bridge: upgrade it and {plugin.distribution}."
    return registry


def refuse_conflicts(registry: Registry) -> None:
    """Refuse two installed plugins with the same name, because the choice between them would be arbitrary.

    Raises:
        PluginError: Naming both distributions.
    """
    for plugin in registry.plugins:
        if plugin.conflict:
            raise PluginError(plugin.error, remedy=plugin.remedy)


def _activate(manager: pluggy.PluginManager, registry: Registry, plugin: Plugin, entry: EntryPoint) -> None:
    module = entry.load()
    check_api(getattr(module, "bridge_api", None), plugin.name, plugin.distribution)
    plugin.summary = (getattr(module, "__doc__", None) or "").strip().partition("\n")[0]
    manager.register(module, name=f"{plugin.distribution}:{plugin.name}")
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        manager.unregister(module)
        raise PluginError(
            str(error).strip().replace("\n", " "), remedy="bridge.hookspecs defines the hooks."
        ) from error
    for kind in KINDS:
        others = [other for other in manager.get_plugins() if other is not module]
        call = manager.subset_hook_caller(f"register_{kind}", others)
        call(register=registry.registrar(kind, plugin))
    others = [other for other in manager.get_plugins() if other is not module]
    manager.subset_hook_caller("register_aliases", others)(register=registry.name_registrar(plugin))
    manager.subset_hook_caller("register_known_readers", others)(register=registry.reader_registrar(plugin))
    if not plugin.provides:
        what = "is not a module" if not isinstance(module, ModuleType) else "registers nothing"
        raise PluginError(
            f"{plugin.name} {what}.",
            remedy="Decorate its register_* function with bridge.hookspecs.hookimpl.",
        )


def _enabled(found: Iterable[EntryPoint]) -> list[tuple[Plugin, EntryPoint]]:
    """Return the enabled plugins, sorted by name and distribution, with their entry points."""
    off, only = _names("BRIDGE_DISABLE_PLUGINS"), _names("BRIDGE_ONLY_PLUGINS")
    packages: dict[Distribution | None, tuple[str, str]] = {None: (UNKNOWN, UNKNOWN)}
    chosen = []
    for entry in found:
        # Name and version of a package are parsed at every access, so they are cached for its plugins.
        if entry.dist and entry.dist not in packages:
            packages[entry.dist] = entry.dist.name, entry.dist.version
        distribution, version = packages[entry.dist]
        names = {entry.name, f"{distribution}:{entry.name}"}
        if not names & off and (not only or names & only):
            chosen.append((Plugin(entry.name, distribution, version), entry))
    return sorted(chosen, key=lambda one: (one[0].name, one[0].distribution))


def _names(variable: str) -> set[str]:
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}
