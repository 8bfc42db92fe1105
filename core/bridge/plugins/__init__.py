"""Finds plugins by entry point, isolates broken plugins, and holds the registered objects."""

from bridge.plugins.discovery import build_plugin_manager, discover, refuse_conflicts
from bridge.plugins.registry import BY_CLASS, KINDS, Plugin, Registry

__all__ = ["BY_CLASS", "KINDS", "Plugin", "Registry", "build_plugin_manager", "discover", "refuse_conflicts"]
