"""Finds plugins by entry point, isolates the broken ones, and keeps what they register."""

from bridge.plugins.registry import KINDS, Plugin, Registry, build_plugin_manager, discover, refuse_conflicts

__all__ = ["KINDS", "Plugin", "Registry", "build_plugin_manager", "discover", "refuse_conflicts"]
