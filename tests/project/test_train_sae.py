"""The trainer of dictionaries, run as its users run it, on the toy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bridge.plugins import discover

TOOL = Path(__file__).parents[2] / "tools" / "train_sae.py"


@pytest.mark.parametrize(("kind", "option"), [("topk", ("--k", "8")), ("relu", ("--l1", "0.01"))])
def test_a_dictionary_is_trained_and_read_back(kind: str, option: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "sae"
    command = [sys.executable, str(TOOL), "--model", "dyck:seed0@1", "--kind", kind, "--features", "96", *option]
    command += ["--steps", "250", "--batch", "256", "--max-documents", "800", "--init-seed", "3", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "training.json").read_text())
    assert record["held_out"]["ev"] > 0.8 and record["held_out_rows"] > 1000
    sae = discover().dictionary_formats["saelens"].load(out)
    assert sae.directions.shape == (96, 64)
    assert (sae.origin.site, sae.origin.init_seed) == ("blocks.1.hook_resid_post", 3)
    np.testing.assert_allclose(np.linalg.norm(sae.directions, axis=1), 1, rtol=1e-4)
    if kind == "topk":
        features = sae.encode(np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32))
        assert ((features > 0).sum(1) <= 8).all()
