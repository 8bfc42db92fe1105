"""Finds plugins by entry point, isolates the broken ones, and keeps what they register."""

from bridge.plugins.discovery import build_plugin_manager, discover, refuse_conflicts
from bridge.plugins.registry import KINDS, Plugin, Registry

__all__ = ["KINDS", "Plugin", "Registry", "build_plugin_manager", "discover", "refuse_conflicts"]
