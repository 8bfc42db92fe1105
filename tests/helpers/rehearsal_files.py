"""Small files of models, dictionaries and readers that are not here: configurations of real widths, no weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from bridge.dictionaries import Origin, ReLU, SparseAutoencoder
from bridge.plugins import discover


def write_configs(folder: Path) -> tuple[Path, Path]:
    """Write configurations of a Qwen2 and of a Gemma 3 in its wrapper, real widths in few blocks, without weights."""
    from transformers import Gemma3Config, Qwen2Config, SiglipVisionConfig

    qwen = {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2}
    text = {"hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 7, "num_attention_heads": 4}
    paths = folder / "my-qwen", folder / "my-gemma"
    Qwen2Config(**qwen, vocab_size=151936, num_hidden_layers=5, dtype="bfloat16").save_pretrained(paths[0])
    vision = SiglipVisionConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2)
    Gemma3Config(text_config=text | {"num_key_value_heads": 1}, vision_config=vision).save_pretrained(paths[1])
    for path, kind in zip(paths, ("Qwen2ForCausalLM", "Gemma3ForConditionalGeneration"), strict=True):
        said = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(said | {"architectures": [kind]}))
    return paths


def write_sae(folder: Path, d_model: int, site: str) -> Path:
    rows = np.random.default_rng(0).normal(size=(40, d_model)).astype(np.float32)
    zeros = np.zeros(40, np.float32), np.zeros(d_model, np.float32)
    sae = SparseAutoencoder(rows.T.copy(), zeros[0], rows, zeros[1], ReLU(), origin=Origin(site=site))
    discover().dictionary_formats["sparsify"].example(folder, sae)
    return folder / site


def write_sidecar(folder: Path, d_model: int, layer: int) -> Path:
    """Write the small file of an AV, without weights."""
    (folder / "av").mkdir(parents=True)
    said = {
        "kind": "nla_model",
        "role": "av",
        "d_model": d_model,
        "extraction": {"injection_scale": 150.0, "layer_index": layer},
        "tokens": {"injection_char": "㈎", "injection_token_id": 9, "injection_left_neighbor_id": 8},
        "prompt_templates": {"av": "<concept>{injection_char}</concept>"},
    }
    (folder / "av" / "nla_meta.yaml").write_text(yaml.safe_dump(said, allow_unicode=True), encoding="utf-8")
    return folder
