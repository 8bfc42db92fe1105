"""One line for a test file: the conformance kit as a test, for a plugin as it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bridge.errors import ConformanceError, PluginError


def conformance(kind: str, name: str, file: Path | None = None) -> Callable[[], None]:
    """Return a test that finds an installed plugin by its name and tries every law of its kind.

        test_laws = conformance("maps", "my_map")

    It fails with all broken laws, each with the input and by how much; where nothing can be tried, a verbalizer without
    its checkpoint or a format without a file, it is skipped by pytest, with the reason.

    Args:
        kind: One of `bridge.plugins.KINDS`.
        name: That the plugin registers; `bridge plugins` shows it.
        file: For a dictionary format, a file or folder in it; a format that can write needs none.
    """

    def test_conformance() -> None:
        """Hold the plugin to the laws of its kind."""
        import pytest

        from bridge.plugins.discovery import discover
        from bridge.testing.certify import certify

        registry = discover()
        if (kind, name) not in [provided for plugin in registry.plugins for provided in plugin.provides]:
            errors = [f"{plugin.name}: {plugin.error}" for plugin in registry.plugins if plugin.error]
            raise PluginError(
                f"No installed plugin registers {name} of kind {kind}.",
                cause=f"Broken are {'; '.join(errors)}." if errors else "The package is not installed.",
                remedy="Run `pip install -e .`, and look at `bridge plugins`.",
            )
        certificate = certify(registry, kind, name, file)
        if certificate.skipped:
            pytest.skip(certificate.skipped)
        if certificate.broken:
            found = [f"{verdict.law}. Given {verdict.given}: {verdict.found}." for verdict in certificate.broken]
            raise ConformanceError(f"The {kind} plugin {name} breaks {len(found)} laws:\n" + "\n".join(found))

    return test_conformance
