"""Scripts that no other test runs: what they import is there, so that a name that moved is missed here."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("benchmarks/*.py"), *ROOT.glob("tools/*.py"), *ROOT.glob("experiments/**/*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_script_imports_is_there(script: Path) -> None:
    missing = []
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("bridge"):
            continue
        module = import_module(str(node.module))
        names = [alias.name for alias in node.names]
        missing += [f"{node.module}.{n}" for n in names if not hasattr(module, n) and not _is_module(node.module, n)]
    assert not missing


def test_the_benchmark_for_gpus_runs_on_small_shapes_and_says_what_it_lacks() -> None:
    torch = pytest.importorskip("torch")
    script = [sys.executable, str(ROOT / "benchmarks/gpu.py")]
    small = "--tiny --device cpu --tokens 16 --documents 4 --rounds 1 --texts 2 --new-tokens 2 --fit-rows 8192 --json"
    done = subprocess.run([*script, *small.split()], capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(done.stdout)
    assert all(found[f"{name} collection"]["MFU"] > 0 for name in ("7b", "27b"))
    assert found["7b explanations"]["per_second"] > 0
    assert found["fit"]["products"] == "float32"
    if not torch.cuda.is_available():
        done = subprocess.run(script, capture_output=True, text=True, timeout=300)
        assert done.returncode == 1
        assert done.stderr == "There is no CUDA device here. To try this script without one: --tiny --device cpu.\n"


def _is_module(package: str | None, name: str) -> bool:
    try:
        return find_spec(f"{package}.{name}") is not None
    except ModuleNotFoundError:
        return False
