"""What is public is written down: names, hooks and the plugin API, and plugins need nothing else."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

from bridge import hookspecs
from bridge.plugins import KINDS
from bridge.scaffold import Names, render

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import build_reference  # noqa: E402
import reference_api  # noqa: E402


@pytest.mark.parametrize("page", build_reference.PAGES, ids=lambda page: page.name)
def test_what_is_made_from_the_code_is_current(page: Path) -> None:
    made = page.read_text(encoding="utf-8")
    assert made == build_reference.PAGES[page](), "run tools/build_reference.py, and say in CHANGELOG.md what changed"


@pytest.mark.parametrize("name", build_reference.PUBLIC)
def test_public_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)


def test_docstrings_of_public_names_lack_nothing() -> None:
    lacking = list(reference_api.faults(build_reference.PUBLIC))
    assert not lacking, "\n".join(lacking)


def test_what_docstrings_lack_is_found() -> None:
    def good(x: int) -> int:
        """Double x.

        Args:
            x: A number.

        Returns:
            Twice as much.

        Raises:
            ValueError: If it is odd.
        """
        if x % 2:
            raise ValueError(x)
        return 2 * x

    def bad(x: int, y: int) -> int:
        """Double x.

        Args:
            x: A number.
        """
        if y:
            raise ValueError(y)
        return 2 * x

    nothing = reference_api.Documented("", {}, {})
    assert not list(reference_api.faults_of_function("good", good, nothing))
    assert list(reference_api.faults_of_function("bad", bad, nothing)) == [
        "bad: y is not under Args",
        "bad: what it returns is not said",
        "bad: ValueError is not under Raises",
    ]


def test_every_kind_has_a_hook_a_check_and_an_example() -> None:
    from bridge import testing

    hooks = {name.removeprefix("register_") for name in hookspecs.__all__ if name.startswith("register_")}
    assert hooks == {*KINDS, "aliases", "known_readers"}
    for kind in KINDS:
        assert f"check_{kind.removesuffix('s')}" in testing.__all__
        assert f"bridge_my_{kind}/__init__.py" in render(Names(kind, f"my_{kind}"))


def imported(source: str) -> set[tuple[str, str]]:
    """Return module and name of everything that a source imports from bridge."""
    return {
        (node.module or "", alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "bridge"
        for alias in node.names
    }


def test_plugins_of_strangers_need_public_names_only() -> None:
    public = {(name, item) for name in build_reference.PUBLIC for item in importlib.import_module(name).__all__}
    examples = {str(path): path.read_text() for path in ROOT.glob("examples/**/*.py")}
    started = {name: text for kind in KINDS for name, text in render(Names(kind, f"my_{kind}")).items()}
    for name, text in (examples | started).items():
        if name.endswith(".py"):
            assert imported(text) <= public, f"{name} imports {imported(text) - public}"
