"""Stand-ins of real configurations, and the configurations that are bundled for rehearsals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.models import Weights
from bridge.plugins import Registry

PARAMETERS = {
    # As the hub's pages of the models say them, of their safetensors files.
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "google/gemma-3-27b-it": 27_432_406_640,
    "google/gemma-3-12b-it": 12_187_325_040,
    "google/gemma-3-270m": 268_098_176,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
}


def known(registry: Registry) -> dict[str, tuple[str, Path]]:
    return {
        model: (name, folder)
        for name, family in registry.models.items()
        for model, folder in family.known_configs().items()
    }


def test_bundled_configurations_have_the_published_number_of_parameters(registry: Registry) -> None:
    found = known(registry)
    assert set(found) == set(PARAMETERS)
    for model, (name, folder) in found.items():
        weights, family = Weights(str(folder)), registry.models[name]
        assert family.claims(weights)
        assert family.parameters(weights) == PARAMETERS[model], model


@pytest.mark.parametrize(
    ("model", "encoded", "begins"), [("Qwen/Qwen2.5-7B-Instruct", "Ġ", False), ("google/gemma-3-27b-it", "▁", True)]
)
def test_a_stand_in_keeps_blocks_and_kind_of_tokenizer(
    registry: Registry, tmp_path: Path, model: str, encoded: str, begins: bool
) -> None:
    from transformers import AutoTokenizer

    name, folder = known(registry)[model]
    registry.models[name].write_stand_in(Weights(str(folder)), tmp_path / "small", 96)
    real = json.loads((folder / "config.json").read_text())
    small = json.loads((tmp_path / "small" / "config.json").read_text())
    assert small["architectures"] == real["architectures"]
    text, real_text = small.get("text_config", small), real.get("text_config", real)
    assert text["num_hidden_layers"] == real_text["num_hidden_layers"] == len(text["layer_types"])
    # Gemma 3 attends to all tokens in every sixth block, Qwen2.5 in all.
    every = 6 if begins else 1
    wanted = [i % every == every - 1 for i in range(text["num_hidden_layers"])]
    assert [kind == "full_attention" for kind in text["layer_types"]] == wanted
    assert text["hidden_size"] == 96 and text["vocab_size"] < 2000
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "small")
    ids = tokenizer("the map of naïve 你好").input_ids
    assert max(ids) < text["vocab_size"] and (ids[0] == tokenizer.bos_token_id) is begins
    assert any(encoded in token for token in tokenizer.convert_ids_to_tokens(ids))
    # Bytes stand for letters that no token has: nothing is lost.
    assert tokenizer.unk_token_id not in ids or not begins
    assert sum(file.stat().st_size for file in (tmp_path / "small").iterdir()) < 40 * 2**20


def test_a_tokenizer_with_thousands_of_added_tokens_fits_into_its_stand_in(registry: Registry, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    name, folder = known(registry)["HuggingFaceTB/SmolLM2-135M-Instruct"]
    real = tmp_path / "real"
    registry.models[name].write_stand_in(Weights(str(folder)), real, 64)
    tokenizer = AutoTokenizer.from_pretrained(real)
    # As in Gemma 3, whose tokenizer has 6242 of them.
    tokenizer.add_tokens([f"<unused{number}>" for number in range(2000)], special_tokens=True)
    tokenizer.save_pretrained(real)
    registry.models[name].write_stand_in(Weights(str(real)), tmp_path / "small", 96)
    small = json.loads((tmp_path / "small" / "config.json").read_text())
    assert small["vocab_size"] > len(AutoTokenizer.from_pretrained(tmp_path / "small")) > 2000
