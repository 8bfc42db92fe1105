"""Finds plugins by entry point, isolates broken plugins, and holds the registered objects."""

from bridge.plugins.discovery import build_plugin_manager, discover, refuse_conflicts
from bridge.plugins.registry import KINDS, Plugin, Registry

__all__ = ["KINDS", "Plugin", "Registry", "build_plugin_manager", "discover", "refuse_conflicts"]
