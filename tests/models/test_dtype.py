"""`--dtype auto`: which dtype it means where, and that it is said and kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridge.cli import bridge as command
from bridge.errors import UsageError
from bridge.models import Placement
from bridge.models.dtype import decided_dtype

PAIR = ("--src", "tiny-pythia:seed1", "--dst", "tiny-pythia:seed2", "--map", "procrustes", "--max-documents", "300")


def fit(out: Path, *flags: str) -> Result:
    return CliRunner().invoke(command, ["fit", *PAIR, *flags, "--out", str(out)])


def dtype_of(out: Path) -> str:
    return str(json.loads((out / "bridge.json").read_text())["provenance"]["options"]["dtype"])


@pytest.mark.parametrize(("speed", "chosen"), [(5.0, "bfloat16"), (1.1, "float32"), (0.1, "float32")])
def test_auto_is_what_the_device_is_faster_in(speed: float, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRIDGE_DTYPE")
    assert decided_dtype("auto", "cpu", lambda device: speed) == chosen
    for given in ("bfloat16", "float32"):
        assert decided_dtype(given, "cpu", lambda device: speed) == given
        assert Placement("cpu", given).dtype == given
        monkeypatch.setenv("BRIDGE_DTYPE", given)
        assert decided_dtype("auto", "cpu", lambda device: speed) == given
        assert Placement("cpu").dtype == Placement("cpu", "auto").dtype == given


def test_what_is_no_dtype_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "65504" in str(fit(tmp_path / "out", "--dtype", "float16").exception)
    assert "int8" in str(fit(tmp_path / "out", "--dtype", "int8").exception)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("BRIDGE_DTYPE", "float16")
    with pytest.raises(UsageError, match="float16"):
        Placement("cpu")


def test_what_was_chosen_is_said_and_kept(tmp_path: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_DTYPE", "bfloat16")
    assert "Computing in bfloat16" in fit(tmp_path / "auto").stderr
    assert dtype_of(tmp_path / "auto") == "bfloat16"
    monkeypatch.setenv("BRIDGE_DTYPE", "float32")
    # What was decided once holds wherever the experiment is run again.
    again = CliRunner().invoke(command, ["fit", str(tmp_path / "auto/config.toml"), "--out", str(tmp_path / "again")])
    assert again.exit_code == 0 and dtype_of(tmp_path / "again") == "bfloat16" and "in the cache" in again.stderr
    fit(tmp_path / "other")
    recipes = [json.loads(path.read_text()) for path in (isolated / "cache/activations").glob("*/recipe.json")]
    assert sorted(recipe["dtype"] for recipe in recipes) == ["bfloat16"] * 2 + ["float32"] * 2


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="what simulates it is x86's")
def test_a_processor_without_bfloat16_computes_in_float32(tmp_path: Path) -> None:
    without = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "BRIDGE_DTYPE": ""}
    arguments = [
        sys.executable,
        "-c",
        "from bridge.cli import main; main()",
        "fit",
        *PAIR,
        "--out",
        str(tmp_path / "out"),
    ]
    ran = subprocess.run(arguments, env=without, capture_output=True, text=True, check=True)
    assert "Computing in float32" in ran.stderr and dtype_of(tmp_path / "out") == "float32"
