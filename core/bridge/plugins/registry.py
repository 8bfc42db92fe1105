"""Finds plugins by entry point, isolates the broken ones, and keeps what they register by kind and name."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, final

import pluggy

from bridge import hookspecs
from bridge.corpus.read import BUNDLED
from bridge.dictionaries import DictionaryFormat
from bridge.errors import PluginError, UsageError, did_you_mean
from bridge.maps import Map
from bridge.models import Alias, ModelAdapter, NamedCorpus
from bridge.plugins.checks import (
    GROUP,
    check_api,
    check_measures,
    check_needs,
    distribution_of,
    impatient,
    written_for_another,
)
from bridge.scorers import MAPPED, MISPAIRED, Scorer
from bridge.verbalizers import VerbalizerBackend

RESERVED_ARMS = (MAPPED, MISPAIRED)
KINDS: Mapping[str, type] = {
    "models": ModelAdapter,
    "maps": Map,
    "verbalizers": VerbalizerBackend,
    "scorers": Scorer,
    "dictionary_formats": DictionaryFormat,
}
NAMES: Mapping[str, type] = {"aliases": Alias, "corpora": NamedCorpus}
"""What the hook `register_aliases` takes, by what it becomes."""


@final
@dataclass
class Plugin:
    """One entry point, and what came of it.

    Attributes:
        name: Of the entry point (`maps.ridge`).
        distribution: Name of the package that brings it.
        version: Of that package.
        provides: What it registered, as (kind, name) pairs.
        summary: First line of its documentation.
        error: Why it is broken, or empty.
        remedy: What to do about it.
        conflict: Whether it is broken because another plugin claims the same name.
    """

    name: str
    distribution: str
    version: str
    provides: list[tuple[str, str]] = field(default_factory=list)
    summary: str = ""
    error: str = ""
    remedy: str = ""
    conflict: bool = False

    @property
    def kind(self) -> str:
        """The kind in its name; the kinds it really registered are in `provides`."""
        return self.name.partition(".")[0]


@final
class Registry:
    """Everything that plugins registered, by kind and name."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self._items: dict[str, dict[str, Any]] = {kind: {} for kind in (*KINDS, *NAMES)}
        self._owners: dict[tuple[str, str], Plugin] = {}

    @property
    def models(self) -> Mapping[str, ModelAdapter]:
        """Model families by name."""
        return self._items["models"]

    @property
    def maps(self) -> Mapping[str, type[Map]]:
        """Map types by name."""
        return self._items["maps"]

    @property
    def verbalizers(self) -> Mapping[str, type[VerbalizerBackend]]:
        """Kinds of verbalizers by name."""
        return self._items["verbalizers"]

    @property
    def scorers(self) -> Mapping[str, Scorer]:
        """Scorers by name."""
        return self._items["scorers"]

    @property
    def dictionary_formats(self) -> Mapping[str, DictionaryFormat]:
        """Dictionary formats by name."""
        return self._items["dictionary_formats"]

    @property
    def aliases(self) -> Mapping[str, Alias]:
        """Aliases that no family brings, by name."""
        return self._items["aliases"]

    @property
    def corpora(self) -> Mapping[str, str]:
        """Paths of named corpora, by name."""
        return {name: corpus.path for name, corpus in self._items["corpora"].items()}

    def map_type(self, name: str) -> type[Map]:
        """Return a map type.

        Raises:
            UsageError: If none of this name is installed.
        """
        if name not in self.maps:
            raise UsageError(f"There is no map {name}.", remedy=did_you_mean(name, self.maps))
        return self.maps[name]

    def verbalizer(self, name: str) -> type[VerbalizerBackend]:
        """Return a kind of verbalizer.

        Raises:
            UsageError: If none of this name is installed.
        """
        if name not in self.verbalizers:
            raise UsageError(f"There is no verbalizer {name}.", remedy=did_you_mean(name, self.verbalizers))
        return self.verbalizers[name]

    def scorer(self, name: str) -> Scorer:
        """Return a scorer.

        Raises:
            UsageError: If none of this name is installed.
        """
        if name not in self.scorers:
            raise UsageError(f"There is no scorer {name}.", remedy=did_you_mean(name, self.scorers))
        return self.scorers[name]

    def registrar(self, kind: str, plugin: Plugin) -> Callable[[Any], None]:
        """Return the `register` callback that one plugin is handed for one kind."""

        def register(item: Any) -> None:
            """Keep an item under its kind and name."""
            base = KINDS[kind]
            fits = issubclass(item, base) if isinstance(item, type) else isinstance(item, base)
            by_class = kind in ("maps", "verbalizers")
            if not fits or isinstance(item, type) != by_class:
                expected = f"a subclass of {base.__name__}" if by_class else f"an instance of {base.__name__}"
                raise PluginError(f"{plugin.name} registered {item!r} as {kind}; that takes {expected}.")
            if by_class and inspect.isabstract(item):
                missing = ", ".join(sorted(item.__abstractmethods__))
                raise PluginError(f"{plugin.name} registered {item.__name__}, which does not implement {missing}.")
            name = getattr(item, "name", None)
            if not isinstance(name, str) or not name:
                raise PluginError(f"{plugin.name} registered {item!r}, which has no name.")
            if kind == "scorers":
                check_needs(item, plugin.name)
                check_measures(item, plugin.name)
            owner = self._owners.get((kind, name))
            if owner:
                raise _ConflictError(
                    f"Two plugins register the name {name} of kind {kind}: {owner.name} of {owner.distribution} and "
                    f"{plugin.name} of {plugin.distribution}.",
                    remedy=f"Uninstall one, or set BRIDGE_DISABLE_PLUGINS={plugin.distribution}:{plugin.name}.",
                )
            if kind == "models":
                for alias in item.aliases():
                    self._claim_alias(alias.name, plugin)
            arm = getattr(item, "control_arm", "")
            if arm and (arm in RESERVED_ARMS or arm in {m.control_arm for m in self.maps.values()}):
                raise PluginError(f"{plugin.name} registered the control arm {arm} of the map {name}, which is taken.")
            self._items[kind][name] = item
            self._owners[kind, name] = plugin
            plugin.provides.append((kind, name))

        return register

    def name_registrar(self, plugin: Plugin) -> Callable[[Any], None]:
        """Return the `register` callback that one plugin is handed for aliases and named corpora."""

        def register(item: Any) -> None:
            """Keep a name, unless it is taken."""
            kind = next((kind for kind, base in NAMES.items() if isinstance(item, base)), "")
            if not kind or not all(isinstance(getattr(item, field.name), str | Mapping) for field in fields(item)):
                raise PluginError(f"{plugin.name} registered {item!r}, no bridge.models.Alias or NamedCorpus.")
            if not item.name:
                raise PluginError(f"{plugin.name} registered {item!r}, which has no name.")
            if kind == "aliases":
                self._claim_alias(item.name, plugin)
            elif item.name == BUNDLED or item.name in self._items[kind]:
                raise _ConflictError(
                    f"{plugin.name} of {plugin.distribution} brings the corpus {item.name}, and there is one.",
                    remedy=f"Uninstall it, or set BRIDGE_DISABLE_PLUGINS={plugin.distribution}:{plugin.name}.",
                )
            self._items[kind][item.name] = item
            self._owners[kind, item.name] = plugin
            plugin.provides.append((kind, item.name))

        return register

    def _claim_alias(self, name: str, plugin: Plugin) -> None:
        owners = {alias: self._owners["aliases", alias] for alias in self.aliases}
        for family, adapter in self.models.items():
            owners |= {alias.name: self._owners["models", family] for alias in adapter.aliases()}
        if name in owners:
            raise _ConflictError(
                f"Two plugins bring the alias {name}: {owners[name].name} of {owners[name].distribution} and "
                f"{plugin.name} of {plugin.distribution}.",
                remedy=f"Uninstall one, or set BRIDGE_DISABLE_PLUGINS={plugin.distribution}:{plugin.name}.",
            )

    def withdraw(self, plugin: Plugin) -> None:
        """Forget what a plugin registered before it broke."""
        for kind, name in plugin.provides:
            del self._items[kind][name], self._owners[kind, name]
        plugin.provides.clear()


def build_plugin_manager() -> pluggy.PluginManager:
    """Return a fresh manager that knows the hooks and no plugin; `BRIDGE_TRACE_PLUGINS=1` makes it log every call."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    if os.environ.get("BRIDGE_TRACE_PLUGINS") == "1":
        manager.trace.root.setwriter(sys.stderr.write)
        manager.enable_tracing()
    return manager


def discover(manager: pluggy.PluginManager | None = None, found: Iterable[EntryPoint] | None = None) -> Registry:
    """Load every enabled plugin; a broken one is recorded with its error and hurts no other.

    Args:
        manager: Where to register the plugins' hooks; a fresh one by default.
        found: The entry points; those of the group `bridge` by default. `BRIDGE_DISABLE_PLUGINS` and
            `BRIDGE_ONLY_PLUGINS` choose among them, by `name` or `distribution:name`, separated by commas.
    """
    manager = manager or build_plugin_manager()
    registry = Registry()
    chosen = [entry for entry in (entry_points(group=GROUP) if found is None else found) if _enabled(entry)]
    repeated = {name for name, count in Counter(entry.name for entry in chosen).items() if count > 1}
    for entry in sorted(chosen, key=lambda entry: (entry.name, distribution_of(entry))):
        plugin = Plugin(entry.name, distribution_of(entry), entry.dist.version if entry.dist else "unknown")
        registry.plugins.append(plugin)
        try:
            if entry.name in repeated:
                others = sorted(distribution_of(other) for other in chosen if other.name == entry.name)
                raise _ConflictError(
                    f"{' and '.join(others)} both bring an entry point {entry.name}.",
                    remedy=f"Uninstall one, or set BRIDGE_DISABLE_PLUGINS={others[-1]}:{entry.name}.",
                )
            # Standard output is for results, and may be JSON.
            with contextlib.redirect_stdout(sys.stderr), impatient(plugin.name, plugin.distribution):
                _activate(manager, registry, plugin, entry)
        except PluginError as error:
            registry.withdraw(plugin)
            plugin.error, plugin.remedy = error.what, error.remedy
            plugin.conflict = isinstance(error, _ConflictError)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way, and must hurt no other
            registry.withdraw(plugin)
            plugin.error = f"{type(error).__name__}: {error}"
            plugin.remedy = f"Tell the authors of {plugin.distribution}, upgrade it, or uninstall it."
            if written_for_another(error):
                plugin.remedy = f"It was written for another residual-bridge: upgrade that, and {plugin.distribution}."
    return registry


def refuse_conflicts(registry: Registry) -> None:
    """Stop before work begins if two installed plugins claim one name: which of them ran would be chance.

    Raises:
        PluginError: Naming both distributions.
    """
    for plugin in registry.plugins:
        if plugin.conflict:
            raise PluginError(plugin.error, remedy=plugin.remedy)


@final
class _ConflictError(PluginError):
    """Two plugins claim one name."""


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
            str(error).strip().replace("\n", " "), remedy="The hooks that exist are in bridge.hookspecs."
        ) from error
    for kind in KINDS:
        others = [other for other in manager.get_plugins() if other is not module]
        call = manager.subset_hook_caller(f"register_{kind}", others)
        call(register=registry.registrar(kind, plugin))
    others = [other for other in manager.get_plugins() if other is not module]
    manager.subset_hook_caller("register_aliases", others)(register=registry.name_registrar(plugin))
    if not plugin.provides:
        what = "is no module" if not isinstance(module, ModuleType) else "registers nothing"
        raise PluginError(
            f"{plugin.name} {what}.",
            remedy="Decorate its register_* function with bridge.hookspecs.hookimpl.",
        )


def _enabled(entry: EntryPoint) -> bool:
    names = {entry.name, f"{distribution_of(entry)}:{entry.name}"}
    only = _names("BRIDGE_ONLY_PLUGINS")
    return not names & _names("BRIDGE_DISABLE_PLUGINS") and (not only or bool(names & only))


def _names(variable: str) -> set[str]:
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}
