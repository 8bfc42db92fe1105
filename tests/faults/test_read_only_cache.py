"""A complete cache that may only be read: the same command gives the same files, and what is new is computed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from child_commands import contents
from short_commands import COMMANDS

CODE = "import sys; from bridge.cli import main; main(sys.argv[1:])"
CAPABILITIES = "--bounding-set=-dac_override,-dac_read_search"
"""Root may write everywhere; without these capabilities, it may not."""


def bridge(arguments: list[str], here: Path, user: tuple[str, ...] = ()) -> None:
    environment = os.environ | {"BRIDGE_CACHE_DIR": str(here / "cache"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [*user, sys.executable, "-c", CODE, *arguments, "--quiet"]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=600)
    assert not done.returncode, done.stderr


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Give what a command begins with to be denied writing, and give the cache's permissions back at the end."""
    user = () if os.geteuid() else ("setpriv", CAPABILITIES)
    try:
        subprocess.run([*user, "true"], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("root cannot give up its right to write everywhere here")
    yield user
    subprocess.run(["chmod", "-R", "u+w", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    "name", ["fit", *(pytest.param(name, marks=pytest.mark.faults) for name in COMMANDS if name != "fit")]
)
def test_a_complete_cache_needs_not_be_written(name: str, tmp_path: Path, reader: tuple[str, ...]) -> None:
    arguments = COMMANDS[name]
    bridge(arguments, tmp_path)
    before, first = contents(tmp_path / "cache"), contents(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "first")
    subprocess.run(["chmod", "-R", "a-w", str(tmp_path / "cache")], check=True)
    bridge(arguments, tmp_path, reader)
    assert contents(tmp_path / "out") == first
    if name == "run":  # explanations of another feature are made, and not kept
        bridge([*arguments[:-1], "more", "--features", "5"], tmp_path, reader)
    assert contents(tmp_path / "cache") == before
