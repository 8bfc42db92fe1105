"""What is released: versions locked by hashes, and packages that are the same bytes wherever they are built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_lock_holds_every_pinned_version_but_torch_with_hashes() -> None:
    pinned = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    hashed = re.compile(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", re.MULTILINE)
    locked = hashed.findall((ROOT / "requirements.lock").read_text())

    def plain(versions: list[tuple[str, str]]) -> dict[str, str]:
        return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in versions}

    assert plain(locked) == {name: version for name, version in plain(pinned).items() if name != "torch"}, "make lock"


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_package_is_the_same_bytes_wherever_it_is_built(kind: str, tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    built = []
    for number, order in enumerate((sorted(names), sorted(names, reverse=True))):
        source = tmp_path / f"{'deeper/' * number}source"
        for name in order:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
            (source / name).chmod(0o600 if number else 0o644)
            os.utime(source / name, (10**9 + number, 10**9 + number))
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(tmp_path / f"dist{number}")]
        subprocess.run(command, cwd=source, capture_output=True, check=True)
        (package,) = (tmp_path / f"dist{number}").iterdir()
        built.append((package.name, package.read_bytes()))
    assert built[0] == built[1]
