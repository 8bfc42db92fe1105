"""A finished run, for the tests of its report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bridge_toys.dyck
from bridge.report.html import REPORT
from report_files import PAIR, call

SAE = Path(bridge_toys.dyck.__file__).parent / "checkpoints/seed0/dictionaries/1/relu"
LENS = "logit_lens:top=2"


@pytest.fixture(scope="module")
def finished(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real run with explained features."""
    home = tmp_path_factory.mktemp("report")
    lenses = ("--src-verbalizer", LENS, "--dst-verbalizer", LENS, "--washout", "mean", "--washout", "none")
    sizes = ("--dictionary", SAE, "--features", 12, "--positions", 8, "--encoder", tiny_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRIDGE_CACHE_DIR", str(home / "cache"))
        result = call("run", *PAIR, *lenses, *sizes, "--out", home / "run", "--quiet")
    assert result.exit_code == 0, result.exception
    assert "Report: " in result.stdout and (home / "run" / REPORT).is_file()
    return home / "run"


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy to damage, without its report."""
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / REPORT).unlink()
    return copy
