"""`bridge new-plugin`: a package of every kind, installed by pip into an environment of its own, works at once."""

from __future__ import annotations

import ast
import errno
import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bridge.plugins import KINDS
from bridge.scaffold import Names, render
from small_plugins import bridge

HOST = Path(sysconfig.get_path("purelib"))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of every kind, and an environment `env` that sees this one and has them installed."""
    folder = tmp_path_factory.mktemp("workshop")
    for kind in KINDS:
        code, _, err = bridge("new-plugin", kind, f"my-{kind}", "--out", folder / kind)
        assert code == 0, err
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    # Editable installs of this environment are .pth files, which only addsitedir reads.
    (packages / "host.pth").write_text(f"import site; site.addsitedir({str(HOST)!r})\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "env" / "bin" / "python"), "install", "--quiet"]
    editable = [word for kind in KINDS for word in ("--editable", str(folder / kind))]
    subprocess.run([*pip, "--no-index", "--no-deps", "--no-build-isolation", *editable], check=True)
    return folder


def python(workshop: Path, *arguments: str, cwd: Path | None = None) -> str:
    command = [str(workshop / "env" / "bin" / "python"), *arguments]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd or workshop, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_they_are_found(workshop: Path) -> None:
    run = "import sys; from bridge.cli import main; main(sys.argv[1:])"
    listed = json.loads(python(workshop, "-c", run, "plugins", "--json"))["plugins"]
    mine = {
        plugin["kind"]: plugin
        for plugin in listed
        # A reader format is a verbalizer, too.
        if plugin["name"].startswith("my_") and plugin["entry_point"].startswith(plugin["kind"])
    }
    assert set(mine) == set(KINDS)
    for kind, plugin in mine.items():
        assert (plugin["name"], plugin["entry_point"]) == (f"my_{kind}", f"{kind}.my_{kind}")
        assert (plugin["distribution"], plugin["health"]) == (f"bridge-my-{kind}".replace("_", "-"), "ok")
        assert plugin["summary"]


@pytest.mark.parametrize("kind", KINDS)
def test_its_tests_pass(kind: str, workshop: Path) -> None:
    folder = workshop / kind
    assert "1 passed" in python(workshop, "-m", "pytest", "-p", "no:cacheprovider", cwd=folder)


def test_they_import_without_torch(workshop: Path) -> None:
    modules = ", ".join(f"bridge_my_{kind}" for kind in KINDS)
    python(workshop, "-c", f"import sys, {modules}; sys.exit(bool({{'torch', 'transformers'}} & set(sys.modules)))")


def test_what_is_written(tmp_path: Path) -> None:
    code, out, _ = bridge("new-plugin", "maps", "my-map", "--out", tmp_path / "here", "--json")
    assert code == 0
    said = json.loads(out)
    assert (said["name"], said["entry_point"]) == ("my_map", "maps.my_map")
    assert {str(path.relative_to(tmp_path / "here")) for path in (tmp_path / "here").rglob("*.*")} == set(said["files"])
    project: dict[str, Any] = tomllib.loads((tmp_path / "here" / "pyproject.toml").read_text())
    assert project["project"]["name"] == "bridge-my-map"
    assert project["project"]["entry-points"]["bridge"] == {"maps.my_map": "bridge_my_map"}
    assert any(need.startswith("residual-bridge~=") for need in project["project"]["dependencies"])
    assert "test" in project["project"]["optional-dependencies"]
    readme = (tmp_path / "here" / "README.md").read_text()
    for command in ("pip install -e '.[test]'", "pytest", "bridge plugins check my_map"):
        assert f"    {command}\n" in readme


def test_default_folder_and_next_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = bridge("new-plugin", "scorers", "mine")
    assert code == 0
    assert "cd bridge-mine" in out
    assert (tmp_path / "bridge-mine" / "bridge_mine" / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("maps", "My_Map", "cannot be the name"),
        ("maps", "2nd", "cannot be the name"),
        ("maps", "my map", "cannot be the name"),
        ("maps", "my__map", "cannot be the name"),
        ("maps", "../up", "cannot be the name"),
        ("maps", "größe", "cannot be the name"),
        ("maps", "lambda", "cannot be the name"),
        ("maps", "", "cannot be the name"),
        ("maps", "ridge", "An installed plugin of kind maps is called ridge"),
        ("maps", "models", "The Python package bridge_models already exists"),
        ("nonsense", "mine", "Invalid value for"),
    ],
)
def test_names_that_are_refused(
    kind: str, name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = bridge("new-plugin", kind, name)
    assert (code, out) == (2, "")
    assert reason in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_nothing_is_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    code, _, err = bridge("new-plugin", "maps", "mine", "--out", tmp_path / "there")
    assert code == 2
    assert "already exists" in " ".join(err.split())
    assert list((tmp_path / "there").iterdir()) == []

    write = Path.write_text

    def full(self: Path, *arguments: Any, **options: Any) -> int:
        if self.name == "README.md":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    code, _, err = bridge("new-plugin", "maps", "mine", "--out", tmp_path / "full")
    assert code == 1
    assert "No space left on device" in " ".join(err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_an_example_uses_itself(kind: str) -> None:
    for name in ("map", "scorer", "evidence", "linear_map", "network", "dictionary", "explanation", "path", "bytes"):
        for path, text in render(Names(kind, name)).items():
            if path.endswith(".py"):
                body = ast.parse(text).body
                classes = [node.name for node in body if isinstance(node, ast.ClassDef)]
                imports = [node for node in body if isinstance(node, ast.ImportFrom)]
                names = [*classes, *(alias.name for node in imports for alias in node.names)]
                assert len(set(names)) == len(names), f"{kind} {name}"
