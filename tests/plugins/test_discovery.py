"""Finding plugins is done several times in a process, and must stay cheap."""

from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

from bridge.plugins import discover


class Counted(Distribution):
    """A package with three plugins, which counts how often its metadata is read."""

    def __init__(self) -> None:
        self.reads = 0

    def read_text(self, filename: str) -> str | None:
        """Return a file of the package."""
        self.reads += filename == "METADATA"
        found = {"METADATA": "Name: many\nVersion: 2.0\n", "entry_points.txt": "[bridge]\n"}
        found["entry_points.txt"] += "".join(f"maps.many{i} = bridge_maps.ridge\n" for i in range(3))
        return found.get(filename)

    def locate_file(self, path: object) -> Path:
        """Return where a file would lie."""
        return Path(str(path))


def test_the_metadata_of_a_package_is_parsed_once_and_not_for_every_plugin() -> None:
    package = Counted()
    found: list[EntryPoint] = list(package.entry_points)
    registry = discover(found=found)
    assert [(one.name, one.distribution, one.version) for one in registry.plugins] == [
        (f"maps.many{i}", "many", "2.0") for i in range(3)
    ]
    # The name, and the version.
    assert package.reads == 2
