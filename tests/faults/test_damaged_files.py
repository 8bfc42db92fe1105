"""One file of a cache or a result folder is damaged: it is computed again with the same bits, or refused by name."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import final

import numpy as np
import pytest
from safetensors.numpy import save_file

import bridge
import bridge_toys.dyck
from bridge.errors import BridgeError
from bridge.store import Artifact
from child_commands import contents
from damaged_files import DAMAGES, batches
from short_commands import COMMANDS, DYCK
from small_plugins import bridge as call

FIT = ["fit", *DYCK[:-1], "fitted"]
MOVE = ["transfer", "directions", "fitted", "v.safetensors", "--no-score", "--out", "moved.safetensors"]
FEW = ["--max-documents", "150", "--out", "readings.json"]
EXPLAIN = ["explain", "--src", "tiny-qwen", "--dst", "tiny-gemma", "--text", "The cold river", *FEW]
SWEEP = [*COMMANDS["sweep"][:-1], "swept"]
SAE = Path(bridge_toys.dyck.__file__).parent / "checkpoints/seed0/dictionaries/1/relu"
CARRY = ["transfer", "sae", "fitted", str(SAE), "--no-score", "--out", "sae"]
Reader = Callable[[], tuple[int, str]]
Property = Callable[[str, object], None]


@final
@dataclass(frozen=True)
class Whole:
    """What commands left that nothing disturbed.

    Attributes:
        folder: Their working directory, with `cache`.
        commands: The commands.
        files: Every file in it, by path.
    """

    folder: Path
    commands: list[list[str]]
    files: dict[str, bytes]

    def copy(self, folder: Path, patch: pytest.MonkeyPatch) -> Path:
        """Copy everything to another folder, and work there."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        patch.setenv("BRIDGE_CACHE_DIR", str(folder / "cache"))
        patch.chdir(folder)
        return folder

    def cached(self) -> list[Path]:
        return [self.folder / name for name in self.files if name.startswith("cache/")]


def performed(commands: list[list[str]], folder: Path) -> Whole:
    with pytest.MonkeyPatch.context() as patch:
        folder.mkdir()
        patch.setenv("BRIDGE_CACHE_DIR", str(folder / "cache"))
        patch.setenv("BRIDGE_DTYPE", "float32")
        patch.chdir(folder)
        rng = np.random.default_rng(0)
        save_file({"v": rng.normal(size=(2, 64)).astype(np.float32)}, "v.safetensors")
        for command in commands:
            code, _, err = call(*command, "--quiet")
            assert code == 0, err
    return Whole(folder, commands, contents(folder))


def made(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if not name.startswith("cache/")}


def recomputed(whole: Whole, damage: str, batch: list[str], folder: Path, patch: pytest.MonkeyPatch) -> int:
    """Damage files of the cache, repeat the commands, and compare every byte; gives the number of damaged files."""
    draw, here = random.Random(f"{damage} {batch}"), whole.copy(folder, patch)
    damaged = [name for name in batch if DAMAGES[damage](here / name, whole.cached(), draw)]
    damaged = [name for name in damaged if (here / name).read_bytes() != whole.files[name]]
    for name in made(here).keys() - {"v.safetensors"}:
        (here / name).unlink()
    for command in whole.commands:
        code, _, err = call(*command, "--quiet")
        assert code == 0, (damage, batch, err)
    assert made(here) == made(whole.folder), (damage, batch)
    for name in damaged:
        if (here / name).read_bytes() != whole.files[name]:
            checks = name.startswith(("cache/self-checks/", "cache/perplexities/"))  # read only if a model is loaded
            assert checks and not Artifact((here / name).parent, {}).has(0), f"{name} is still damaged ({damage})"
    return len(damaged)


def refused(whole: Whole, name: str, damage: str, folder: Path, patch: pytest.MonkeyPatch) -> int:
    """Damage a file of results, and give it to every command that reads it; gives the number of refusals."""
    if name == "moved.safetensors" and damage in ("swap", "other form"):
        return 0  # a file alone may be replaced by another whole one, which says itself where it is from
    here = whole.copy(folder, patch)
    files = [whole.folder / name for name in made(whole.folder)]
    if not DAMAGES[damage](here / name, files, random.Random(f"{damage} {name}")):
        return 0
    if (here / name).read_bytes() == whole.files[name]:
        return 0
    readers = readers_of(Path(name))
    for read in readers:
        code, said = read()
        assert code != 0, f"{name} ({damage}) was read"
        assert Path(name).name in said and "Traceback" not in said and "abug" not in said, (name, damage, said)
    return len(readers)


def by_command(*arguments: object) -> Reader:
    def read() -> tuple[int, str]:
        code, _, err = call(*arguments, "--quiet")
        return code, "".join(err.split())

    return read


def by_load(folder: Path) -> Reader:
    def read() -> tuple[int, str]:
        try:
            bridge.load(folder)
        except BridgeError as error:
            return 1, str(error)
        return 0, ""

    return read


def readers_of(path: Path) -> list[Reader]:
    """Return what reads a file of results, apart from people."""
    folder = path.parent
    again = [by_command("run", path, "--out", "never")] if path.suffix == ".toml" else []
    if path.name in ("report.html", "sweep.png", "v.safetensors"):
        return []
    if path.name == "moved.safetensors":
        return [by_command("transfer", "directions", "fitted", path, "--no-score", "--out", "never")]
    if path.name == "readings.json":
        return [by_command("report", path, "--out", "page.html")]
    if folder.name == "sae":
        return [by_command("transfer", "sae", "fitted", folder, "--no-score", "--out", "never")]
    if folder.name == "swept":
        return [*again, by_command("report", folder)]
    moves = by_command("transfer", "directions", folder, "v.safetensors", "--no-score", "--out", "never")
    return [*again, by_load(folder), moves, *([by_command("report", folder)] if folder.name == "out" else [])]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return performed([FIT, MOVE], tmp_path_factory.mktemp("small") / "whole")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return performed([COMMANDS["run"], EXPLAIN], tmp_path_factory.mktemp("large") / "whole")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    commands = [COMMANDS["run"], EXPLAIN, FIT, MOVE, SWEEP, CARRY]
    return performed(commands, tmp_path_factory.mktemp("written") / "whole")


def test_a_fit_with_a_damaged_cache(small: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is damaged once, in one of the ways."""
    draw = random.Random(0)
    files = [str(path.relative_to(small.folder)) for path in small.cached()]
    cuts = [[str(path) for path in batch] for batch in batches(map(Path, files), 9)]
    damaged = sum(recomputed(small, draw.choice(list(DAMAGES)), cut, tmp_path / "here", monkeypatch) for cut in cuts)
    assert damaged >= len(files) - len(cuts)


def test_a_fit_with_damaged_results(small: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = product(made(small.folder), DAMAGES)
    found = [refused(small, *case, tmp_path / "here", monkeypatch) for case in cases]
    assert sum(found) >= 50


@pytest.mark.faults
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_of_the_cache(
    large: Whole, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Property
) -> None:
    count = 0
    for batch in batches((Path(name) for name in large.files if name.startswith("cache/")), 12):
        count += recomputed(large, damage, list(map(str, batch)), tmp_path / "here", monkeypatch)
    record_property("damaged", count)
    assert count > 0.9 * len(large.cached()) or damage == "swap"


@pytest.mark.faults
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_of_results(
    written: Whole, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Property
) -> None:
    names = made(written.folder)
    found = [refused(written, name, damage, tmp_path / "here", monkeypatch) for name in names]
    record_property("damaged", sum(map(bool, found)))
    record_property("refused", sum(found))
    assert sum(map(bool, found)) > 15


@pytest.mark.faults
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_into_its_damaged_folder(
    large: Whole, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = large.copy(tmp_path / "here", monkeypatch)
    names = [name for name in made(here) if name.startswith("out/") and Path(name).suffix not in (".toml", ".html")]
    for name in names:
        DAMAGES[damage](here / name, [large.folder / other for other in names], random.Random(f"{damage} {name}"))
    code, _, err = call(*COMMANDS["run"], "--quiet")
    assert code == 0, err
    assert made(here) == made(large.folder)
