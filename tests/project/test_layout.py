"""The tests lie as the source does, and lend each other nothing but what lies in `tests/helpers`."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
OF_NO_PACKAGE = {"helpers", "docs", "faults", "project"}
FILES = sorted(TESTS.rglob("*.py"))


def imported(source: str) -> set[str]:
    """Return the last part of the name of every module that a source imports, or takes a name from."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").rpartition(".")[2], *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name.rpartition(".")[2] for alias in node.names}
    return names


def test_nobody_imports_a_test_file() -> None:
    tests = {path.stem for path in FILES if path.stem.startswith("test_")} | {"conftest"}
    found = {str(path.relative_to(TESTS)): imported(path.read_text(encoding="utf-8")) & tests for path in FILES}
    assert {path: names for path, names in found.items() if names} == {}, "what others use belongs into tests/helpers"


def test_helpers_are_no_tests() -> None:
    assert not list((TESTS / "helpers").rglob("test_*"))


def test_every_folder_and_file_of_tests_has_its_source() -> None:
    for folder in {path.parent.relative_to(TESTS) for path in FILES if path.parent != TESTS}:
        if folder.parts[0] not in OF_NO_PACKAGE:
            sources = [ROOT / "core" / "bridge" / folder, *ROOT.glob(f"plugins/*/{folder}")]
            assert any((source / "__init__.py").is_file() for source in sources), f"tests/{folder}: tests of what?"
    for path in TESTS.glob("test_*.py"):
        assert (ROOT / "core" / "bridge" / path.name.removeprefix("test_")).is_file(), f"{path.name}: tests of what?"
