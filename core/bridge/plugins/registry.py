"""The registry of plugins' objects, by kind and name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, final

from bridge.corpus.read import BUNDLED
from bridge.dictionaries import DictionaryFormat
from bridge.engines import Engine
from bridge.errors import PluginError, UsageError, did_you_mean
from bridge.maps import Map
from bridge.models import Alias, ModelAdapter, NamedCorpus
from bridge.plugins.checks import check_measures, check_needs, fault_of_reader
from bridge.plugins.guard import Guard
from bridge.plugins.isolation import HOST
from bridge.readers import ReaderFormat, kind_of
from bridge.scorers import MAPPED, MISPAIRED, Scorer
from bridge.sources import ActivationBackend
from bridge.verbalizers import KnownReader, VerbalizerBackend

RESERVED_ARMS = (MAPPED, MISPAIRED)
KINDS: Mapping[str, type] = {
    "models": ModelAdapter,
    "maps": Map,
    "verbalizers": VerbalizerBackend,
    "scorers": Scorer,
    "dictionary_formats": DictionaryFormat,
    "reader_formats": ReaderFormat,
    "activation_sources": ActivationBackend,
    "engines": Engine,
}
BY_CLASS = ("maps", "verbalizers", "activation_sources", "engines")
"""Kinds that register classes, whose fields are options; the others register instances."""

NAMES: Mapping[str, type] = {"aliases": Alias, "corpora": NamedCorpus}
"""The types that the hook `register_aliases` accepts, by kind."""

KNOWN_READERS = "known_readers"
"""What the hook of this name takes: data, and no plugin of a kind."""


@final
class ConflictError(PluginError):
    """Two plugins have the same name."""


@final
@dataclass
class Plugin:
    """One entry point and its state.

    Attributes:
        name: Name of the entry point (`maps.ridge`).
        distribution: Name of its distribution.
        version: Version of the distribution.
        provides: Registered objects, as (kind, name) pairs.
        summary: First line of its documentation.
        error: The error of a broken plugin, or empty.
        remedy: The next step for a broken plugin.
        conflict: Whether the error is that another plugin has the same name.
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
        """The kind in its name; `provides` has the kinds that it registered."""
        return self.name.partition(".")[0]

    @property
    def foreign(self) -> bool:
        """Whether it comes from another distribution than the host."""
        return self.distribution != HOST

    @property
    def full_name(self) -> str:
        """The name that BRIDGE_DISABLE_PLUGINS takes: `distribution:name`."""
        return f"{self.distribution}:{self.name}"


@final
class Registry:
    """Everything that plugins registered, by kind and name."""

    def __init__(self, trusted: Collection[str] = ()) -> None:
        """Create an empty registry.

        Args:
            trusted: Top-level packages of the host's own plugins.
        """
        self._trusted = trusted
        self.plugins: list[Plugin] = []
        self._items: dict[str, dict[str, Any]] = {kind: {} for kind in (*KINDS, *NAMES, KNOWN_READERS)}
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
    def reader_formats(self) -> Mapping[str, ReaderFormat]:
        """Reader formats by name; `verbalizers` has a kind for each."""
        return self._items["reader_formats"]

    @property
    def activation_sources(self) -> Mapping[str, type[ActivationBackend]]:
        """Sources of activations by name."""
        return self._items["activation_sources"]

    @property
    def engines(self) -> Mapping[str, type[Engine]]:
        """Engines by name."""
        return self._items["engines"]

    @property
    def aliases(self) -> Mapping[str, Alias]:
        """Aliases that do not belong to a family, by name."""
        return self._items["aliases"]

    @property
    def corpora(self) -> Mapping[str, str]:
        """Paths of named corpora, by name."""
        return {name: corpus.path for name, corpus in self._items["corpora"].items()}

    @property
    def known_readers(self) -> Mapping[str, KnownReader]:
        """Published readers of activations by name."""
        return self._items[KNOWN_READERS]

    def is_foreign(self, kind: str, name: str) -> bool:
        """Tell whether a plugin of another distribution than the host's registered an object."""
        return self._owners[kind, name].foreign

    def map_type(self, name: str) -> type[Map]:
        """Return a map type.

        Raises:
            UsageError: If the name is not installed.
        """
        if name not in self.maps:
            raise UsageError(f"There is no map {name}.", remedy=did_you_mean(name, self.maps))
        return self.maps[name]

    def verbalizer(self, name: str) -> type[VerbalizerBackend]:
        """Return a kind of verbalizer.

        Raises:
            UsageError: If the name is not installed.
        """
        if name not in self.verbalizers:
            raise UsageError(f"There is no verbalizer {name}.", remedy=did_you_mean(name, self.verbalizers))
        return self.verbalizers[name]

    def engine(self, name: str) -> type[Engine]:
        """Return an engine.

        Raises:
            UsageError: If the name is not installed.
        """
        if name not in self.engines:
            raise UsageError(f"There is no engine {name}.", remedy=did_you_mean(name, self.engines))
        return self.engines[name]

    def scorer(self, name: str) -> Scorer:
        """Return a scorer.

        Raises:
            UsageError: If the name is not installed.
        """
        if name not in self.scorers:
            raise UsageError(f"There is no scorer {name}.", remedy=did_you_mean(name, self.scorers))
        return self.scorers[name]

    def activation_source(self, name: str) -> type[ActivationBackend]:
        """Return a source of activations.

        Raises:
            UsageError: If the name is not installed.
        """
        if name not in self.activation_sources:
            raise UsageError(
                f"There is no source of activations {name}.",
                cause="Its package is not installed or broken, or BRIDGE_ONLY_PLUGINS or BRIDGE_DISABLE_PLUGINS leaves "
                "it out.",
                remedy=f"{did_you_mean(name, self.activation_sources)} `bridge plugins` says which are broken.",
            )
        return self.activation_sources[name]

    def registrar(self, kind: str, plugin: Plugin) -> Callable[[Any], None]:
        """Return the `register` callback of one plugin for one kind."""

        def register(item: Any) -> None:
            """Store an item under its kind and name."""
            base = KINDS[kind]
            fits = issubclass(item, base) if isinstance(item, type) else isinstance(item, base)
            by_class = kind in BY_CLASS
            if not fits or isinstance(item, type) != by_class:
                expected = f"a subclass of {base.__name__}" if by_class else f"an instance of {base.__name__}"
                raise PluginError(f"{plugin.name} registered {item!r} as {kind}; expected {expected}.")
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
                raise ConflictError(
                    f"Two plugins register the name {name} of kind {kind}: {owner.name} of {owner.distribution} and "
                    f"{plugin.name} of {plugin.distribution}.",
                    remedy=f"Uninstall one, or set BRIDGE_DISABLE_PLUGINS={plugin.distribution}:{plugin.name}.",
                )
            if kind == "models":
                for alias in item.aliases():
                    self._claim_alias(alias.name, plugin)
            arm = getattr(item, "control_arm", "")
            if arm and (arm in RESERVED_ARMS or arm in {m.control_arm for m in self.maps.values()}):
                raise PluginError(f"The control arm {arm} of the map {name}, from {plugin.name}, already exists.")
            self._keep(kind, name, item, plugin)
            if kind == "reader_formats":
                self.registrar("verbalizers", plugin)(kind_of(item))

        return register

    def name_registrar(self, plugin: Plugin) -> Callable[[Any], None]:
        """Return the `register` callback of one plugin for aliases and named corpora."""

        def register(item: Any) -> None:
            """Store a name, unless it already exists."""
            kind = next((kind for kind, base in NAMES.items() if isinstance(item, base)), "")
            if not kind or not all(isinstance(getattr(item, field.name), str | Mapping) for field in fields(item)):
                raise PluginError(f"{plugin.name} registered {item!r}, not a bridge.models.Alias or NamedCorpus.")
            if not item.name:
                raise PluginError(f"{plugin.name} registered {item!r}, which has no name.")
            if kind == "aliases":
                self._claim_alias(item.name, plugin)
            elif item.name == BUNDLED or item.name in self._items[kind]:
                raise ConflictError(
                    f"{plugin.name} of {plugin.distribution} registers the corpus {item.name}, which already exists.",
                    remedy=f"Uninstall it, or set BRIDGE_DISABLE_PLUGINS={plugin.distribution}:{plugin.name}.",
                )
            self._keep(kind, item.name, item, plugin)

        return register

    def _keep(self, kind: str, name: str, item: Any, plugin: Plugin) -> None:
        self._items[kind][name] = item
        self._owners[kind, name] = plugin
        plugin.provides.append((kind, name))
        if plugin.foreign:
            Guard(plugin.full_name, self._trusted).guarded(item)

    def reader_registrar(self, plugin: Plugin) -> Callable[[Any], None]:
        """Return the `register` callback that one plugin is handed for known readers."""

        def register(item: Any) -> None:
            """Keep a known reader, unless its name is taken."""
            if not isinstance(item, KnownReader) or fault_of_reader(item):
                fault = f": {fault_of_reader(item)}" if isinstance(item, KnownReader) else ""
                raise PluginError(f"{plugin.name} registered {item!r}, no bridge.verbalizers.KnownReader{fault}.")
            owner = self._owners.get((KNOWN_READERS, item.name))
            if owner:
                raise ConflictError(
                    f"Two plugins bring the known reader {item.name}: {owner.name} of {owner.distribution} and "
                    f"{plugin.name} of {plugin.distribution}.",
                    remedy=f"Uninstall one, or set BRIDGE_DISABLE_PLUGINS={plugin.distribution}:{plugin.name}.",
                )
            self._keep(KNOWN_READERS, item.name, item, plugin)

        return register

    def _claim_alias(self, name: str, plugin: Plugin) -> None:
        owners = {alias: self._owners["aliases", alias] for alias in self.aliases}
        for family, adapter in self.models.items():
            owners |= {alias.name: self._owners["models", family] for alias in adapter.aliases()}
        if name in owners:
            raise ConflictError(
                f"Two plugins register the alias {name}: {owners[name].name} of {owners[name].distribution} and "
                f"{plugin.name} of {plugin.distribution}.",
                remedy=f"Uninstall one, or set BRIDGE_DISABLE_PLUGINS={plugin.distribution}:{plugin.name}.",
            )

    def withdraw(self, plugin: Plugin) -> None:
        """Remove the objects that a plugin registered before it failed."""
        for kind, name in plugin.provides:
            del self._items[kind][name], self._owners[kind, name]
        plugin.provides.clear()
