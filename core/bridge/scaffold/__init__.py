"""Write a plugin package: a working example of its kind, its entry point, and its test."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import final

from bridge.errors import StoreError, UsageError
from bridge.hookspecs import API

NAMES = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

NEEDS: dict[str, tuple[str, ...]] = {
    "models": ("numpy>=2.0", "safetensors>=0.5", "torch>=2.6"),
    "reader_formats": (),
    "activation_sources": ("torch>=2.6",),
    "engines": (),
}
"""Dependencies of the example besides bridge, by kind; numpy for kinds that are not listed."""


@final
@dataclass(frozen=True)
class Names:
    """Every name of a new package.

    Attributes:
        kind: One of `bridge.plugins.KINDS`.
        name: Registered name, as `my_map`.
    """

    kind: str
    name: str

    @property
    def module(self) -> str:
        """Name of the Python package, as `bridge_my_map`."""
        return f"bridge_{self.name}"

    @property
    def distribution(self) -> str:
        """Name of the distribution, as `bridge-my-map`."""
        return self.module.replace("_", "-")

    @property
    def entry_point(self) -> str:
        """Name of the entry point in the group `bridge`, as `maps.my_map`."""
        return f"{self.kind}.{self.name}"


def names_of(kind: str, name: str, taken: Collection[str]) -> Names:
    """Check a name, and derive the others from it; `my-map` is read as `my_map`.

    Args:
        kind: One of `bridge.plugins.KINDS`.
        name: The user's name.
        taken: Names of installed plugins of this kind.

    Raises:
        UsageError: If the name is not valid for a module and a package, or is taken.
    """
    found = Names(kind, name.replace("-", "_"))
    if not NAMES.fullmatch(found.name) or keyword.iskeyword(found.name):
        raise UsageError(
            f"{name!r} cannot be the name of a plugin.",
            remedy="Use lower-case letters, digits and single underscores, a letter first, and no Python keyword.",
        )
    if found.name in taken:
        raise UsageError(
            f"An installed plugin of kind {kind} is called {found.name}.",
            remedy="Choose another name: two plugins with the same name are refused.",
        )
    if importlib.util.find_spec(found.module):
        raise UsageError(f"The Python package {found.module} already exists.", remedy="Choose another name.")
    return found


def write_package(names: Names, out: Path) -> list[str]:
    """Write the package into a new folder, atomically.

    Returns:
        The files, relative to the folder.

    Raises:
        UsageError: If `out` exists.
        StoreError: If the disk is full or read-only.
    """
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} already exists; nothing is overwritten.", remedy="Choose another --out.")
    files = render(names)
    temporary = out.absolute().with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    try:
        for name, text in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_text(text, encoding="utf-8")
        temporary.rename(out)
    except OSError as error:
        raise StoreError(
            f"{out} could not be written ({error.strerror or error}).", remedy="Choose another --out."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sorted(files)


def render(names: Names) -> dict[str, str]:
    """Return the text of every file by its path in the package."""
    from jinja2 import Environment, StrictUndefined

    sources = {
        "pyproject.toml": "pyproject.toml.j2",
        "README.md": "README.md.j2",
        "tests/test_conforms.py": "test_conforms.py.j2",
        f"{names.module}/__init__.py": f"{names.kind}.py.j2",
    }
    if names.kind == "models":
        sources[f"{names.module}/network.py"] = "network.py.j2"
    folder = resources.files("bridge.scaffold") / "templates"
    texts = {name: (folder / source).read_text(encoding="utf-8") for name, source in sources.items()}
    words = {
        "names": names,
        "cls": class_name(names.name, "".join(texts.values())),
        "api": f"{API[0]}.{API[1]}",
        "requirements": sorted([*NEEDS.get(names.kind, ("numpy>=2.0",)), f"residual-bridge{compatible_release()}"]),
    }
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    return {name: environment.from_string(text).render(words) for name, text in texts.items()}


def class_name(name: str, texts: str) -> str:
    """Return the name of the example's class, which must differ from all names in its texts (a map called `map`)."""
    found = "".join(part.capitalize() for part in name.split("_"))
    return f"{found}Plugin" if re.search(rf"\b{found}\b", texts) else found


def compatible_release() -> str:
    """Return the compatible versions of bridge: before 1.0 a minor version may break the API."""
    major, minor = re.findall(r"\d+", version("residual-bridge"))[:2]
    return f"~={major}.{minor}" if int(major) else f"~=0.{minor}.0"
