"""The runtime of all stages: installed plugins, store and progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from bridge.models.resolve import ResolvedModel, resolve
from bridge.plugins.discovery import discover, refuse_conflicts
from bridge.plugins.registry import Registry
from bridge.progress import Progress, Silent
from bridge.store import Store


@final
@dataclass(frozen=True)
class Runtime:
    """Plugins, store and progress of one process.

    Attributes:
        registry: Installed plugins.
        store: The store of artifacts.
        progress: Receives every stage.
        checked: Which self-checks have passed: weights that are loaded again are not checked again.
    """

    registry: Registry
    store: Store = field(default_factory=Store)
    progress: Progress = field(default_factory=Silent)
    checked: set[str] = field(default_factory=set)

    def resolve(self, reference: str) -> ResolvedModel:
        """Resolve a model; see `bridge.models.resolve.resolve`."""
        return resolve(reference, self.registry.models, self.store, self.progress, self.registry.aliases)


def open_runtime(progress: Progress | None = None) -> Runtime:
    """Discover plugins and open the default store.

    Raises:
        PluginError: If two plugins have the same name.
    """
    registry = discover()
    refuse_conflicts(registry)
    return Runtime(registry, progress=progress or Silent())
