"""The conformance checks of an installed plugin as a test function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bridge.errors import ConformanceError, PluginError


def conformance(kind: str, name: str, file: Path | None = None) -> Callable[[], None]:
    """Return a test that finds an installed plugin by its name and tests every law of its kind.

        test_laws = conformance("maps", "my_map")

    The test fails with all broken laws, each with the input and the deviation. If no law can be tested (a verbalizer
    without its checkpoint, a format without a file), pytest skips the test with the reason.

    Args:
        kind: One of `bridge.plugins.KINDS`.
        name: Registered name; `bridge plugins` shows it.
        file: For a dictionary format, a file or folder in this format; a format that can write needs none. For a reader
            format, a folder in this format; a format with an example needs none.
    """

    def test_conformance() -> None:
        """Test the plugin against the laws of its kind."""
        import pytest

        from bridge.plugins.discovery import discover
        from bridge.testing.certify import certify

        registry = discover()
        if (kind, name) not in [provided for plugin in registry.plugins for provided in plugin.provides]:
            errors = [f"{plugin.name}: {plugin.error}" for plugin in registry.plugins if plugin.error]
            raise PluginError(
                f"No installed plugin registers {name} of kind {kind}.",
                cause=f"Broken plugins: {'; '.join(errors)}." if errors else "The package is not installed.",
                remedy="Run `pip install -e .`, and check `bridge plugins`.",
            )
        certificate = certify(registry, kind, name, file)
        if certificate.skipped:
            pytest.skip(certificate.skipped)
        if certificate.broken:
            found = [f"{verdict.law}. Given {verdict.given}: {verdict.found}." for verdict in certificate.broken]
            raise ConformanceError(f"The {kind} plugin {name} breaks {len(found)} laws:\n" + "\n".join(found))

    return test_conformance
