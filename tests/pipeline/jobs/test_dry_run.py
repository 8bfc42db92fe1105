"""The paper's setting, as far as small files go: real configurations, released sidecars, and what stands in the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from bridge.cli import bridge
from bridge.dictionaries import ReLU, SparseAutoencoder
from bridge.plugins import discover

ROOT = Path(__file__).parents[3]
AVS = {"nla-qwen2.5-7b-L20": (3584, 150.0), "nla-gemma3-27b-L41": (5376, 60000.0)}


def sidecar(role: str, d_model: int, scale: float) -> dict[str, Any]:
    tokens = {"injection_char": "㈎", "injection_token_id": 9, "injection_left_neighbor_id": 8}
    return {
        "kind": "nla_model",
        "role": role,
        "d_model": d_model,
        "extraction": {"injection_scale": scale},
        "tokens": tokens | {"injection_right_neighbor_id": 10},
        "prompt_templates": {"av": "<concept>{injection_char}</concept>", "ar": "<text>{explanation}</text> <summary>"},
    }


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configurations of the two real models and sidecars of their verbalizers, and no weights."""
    from transformers import Gemma3Config, Qwen2Config

    models = tmp_path / "models"
    monkeypatch.setenv("BRIDGE_MODELS_DIR", str(models))
    qwen = Qwen2Config(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4,
    )  # fmt: skip
    text = {
        "vocab_size": 262208, "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 62,
        "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128,
    }  # fmt: skip
    qwen.save_pretrained(models / "qwen")
    Gemma3Config(text_config=text).save_pretrained(models / "gemma")
    for name, (d_model, scale) in AVS.items():
        for role in ("av", "ar"):
            folder = models / "kitft" / f"{name}-{role}"
            folder.mkdir(parents=True)
            (folder / "nla_meta.yaml").write_text(yaml.safe_dump(sidecar(role, d_model, scale)))
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(64, 3584)).astype(np.float32)
    zeros = np.zeros(64, np.float32), np.zeros(3584, np.float32)
    sae = SparseAutoencoder(rows.T.copy(), zeros[0], rows, zeros[1], ReLU())
    discover().dictionary_formats["saelens"].save(sae, tmp_path / "sae")
    config = (ROOT / "experiments/qwen-to-gemma.toml").read_text()
    for there, here in (
        ("hub:NeelNanda/pile-10k", "english"),
        ("./qwen2.5-7b-instruct-sae-block20", str(tmp_path / "sae")),
        ('"cuda"', '"cpu"'),
    ):
        assert there in config
        config = config.replace(there, here)
    (tmp_path / "experiment.toml").write_text(config)
    return tmp_path


def dry_run(folder: Path, *flags: str) -> tuple[int, Any]:
    command = ["run", str(folder / "experiment.toml"), "--dry-run", "--json", "--quiet", *flags]
    result = CliRunner().invoke(bridge, command)
    return result.exit_code, json.loads(result.stdout)


def test_the_papers_setting_fits_together(machine: Path) -> None:
    code, found = dry_run(machine)
    assert (code, found["problems"]) == (0, [])
    src, dst = found["models"]["src"], found["models"]["dst"]
    # 7.62B and 27.4B parameters with the vision tower, by their model cards; two bytes each.
    assert src["parameters"] == pytest.approx(7.62e9, rel=0.01) and src["memory_gib"] == pytest.approx(14.2, abs=0.2)
    assert dst["parameters"] == pytest.approx(27.4e9, rel=0.02)
    assert (src["depth"], dst["depth"]) == ([21, 28], [42, 62])
    for side, (name, (d_model, scale)) in zip(("src", "dst"), AVS.items(), strict=True):
        av, ar = found["verbalizers"][side]["loads"]
        assert name in av and str(d_model) in av and f"{scale:g}" in av and ar.startswith("AR")
    assert found["estimates"]["explanations"] == 45 * 6 * 3 + 45 * 7  # of features in three washouts, of activations


def test_the_models_own_verbalizers_are_the_released_ones(machine: Path) -> None:
    path = machine / "experiment.toml"
    path.write_text(
        "\n".join(line for line in path.read_text().splitlines() if not line.startswith(("src_v", "dst_v")))
    )
    code, found = dry_run(machine)
    assert code == 0 and "kitft/nla-gemma3-27b-L41-av" in found["verbalizers"]["dst"]["name"]


def test_everything_that_stands_in_the_way_is_named_at_once(machine: Path) -> None:
    lying = machine / "models/kitft/nla-gemma3-27b-L41-av/nla_meta.yaml"
    lying.write_text(yaml.safe_dump(sidecar("av", 3840, 60000.0)))
    code, found = dry_run(machine, "--washout", "bleach", "--src", "qwen@28")
    assert code == 1
    said = " ".join(found["problems"])
    for part in ("3840", "bleach", "28"):
        assert part in said


def test_modules_that_are_not_there_are_named_before_weights_are_fetched(machine: Path) -> None:
    path = machine / "experiment.toml"
    text = path.read_text()
    for there, wrong in (("@20", "@model.layers.20.nothing"), ("@41", "@model.nrom")):
        assert there in text
        text = text.replace(there, wrong)
    path.write_text(text)
    code, found = dry_run(machine)
    said = "\n".join(found["problems"])
    assert code == 1
    assert "no module model.layers.20.nothing. Its block model.layers.20 holds self_attn, mlp" in said
    assert "no module model.nrom. Its blocks are model.language_model.layers. Did you mean" in said
