"""The pair that the project is named for, rehearsed: minutes long."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal_files import write_sae

ROOT = Path(__file__).parents[2]


@pytest.mark.docs
def test_the_headline_experiment_is_rehearsed(tmp_path: Path) -> None:
    file = ROOT / "experiments" / "qwen-to-gemma.toml"
    # The experiment names no published dictionary: one of the right width is put where it says.
    write_sae(tmp_path / "written", 3584, "layers.20").rename(tmp_path / "qwen2.5-7b-instruct-sae-block20")
    command = [sys.executable, "-c", "from bridge.cli import main; main()", "rehearse", str(file), "--json", "--quiet"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    found = json.loads(ran.stdout)
    assert found["problems"] == [] and found["finished"]
    real = {one["what"]: one["real"] for one in found["stand_ins"]}
    assert real["qwen@20"] == "Qwen2ForCausalLM, 28 blocks, 3584 wide"
    assert real["gemma@41"] == "Gemma3ForConditionalGeneration, 62 blocks, 5376 wide"
    assert real["./qwen2.5-7b-instruct-sae-block20"] == "40 x 3584"
    assert sum(what.startswith("nla:") for what in real) == 2
    [silent] = [one for one in found["unchecked"] if one.startswith("Scorers")]
    # What needs equal widths, a dictionary of the destination or a live model has no place in this experiment.
    assert set(re.findall(r"(\w+) \(", silent)) <= {"decoder_match", "loss_recovered", "rotation", "topics"}
