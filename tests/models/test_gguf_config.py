"""A tiny checkpoint written to GGUF as llama.cpp's converter does, and read back, computes what it computed before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)
from transformers.modeling_gguf_pytorch_utils import TensorProcessor, get_gguf_hf_weights_map

from bridge.errors import ModelError
from bridge.models.gguf import checkpoint_of_gguf
from bridge.progress import Silent
from bridge.store import Store
from gguf_files import keys_of, llama_tensors, write

SHAPE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
}
LONG = [1.0 + 0.5 * i for i in range(8)]
GEMMA = {"attention.key_length": 16, "attention.value_length": 16, "attention.sliding_window": 8}
Case = tuple[str, Any, dict[str, Any]]


def gemma2(depth: int, scalar: int, **more: Any) -> Any:
    return Gemma2Config(
        **SHAPE | {"num_hidden_layers": depth, "head_dim": 16}, sliding_window=8, query_pre_attn_scalar=scalar, **more
    )


def gemma3(depth: int, scalar: int, rope: Any = LINEAR) -> Any:
    shape = SHAPE | {"num_hidden_layers": depth}
    return Gemma3TextConfig(**shape, sliding_window=8, query_pre_attn_scalar=scalar, rope_parameters=rope)


def llama(**rope: Any) -> Any:
    return LlamaConfig(**SHAPE, rope_parameters={"rope_type": "default", "rope_theta": 1e4} | rope)


STRETCHED = {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0, "rope.freq_base": 1e6}
OFTEN = {"attention.key_length": 16, "attention.value_length": 16, "rope.dimension_count": 16}
CASES: dict[str, Case] = {
    "llama": ("llama", llama(), OFTEN),
    "llama 3.1": ("llama", llama(rope_type="llama3", rope_theta=5e5, **LLAMA3), OFTEN | {"rope.freq_base": 5e5}),
    "llama, linear": ("llama", llama(rope_type="linear", factor=4.0), OFTEN | {"rope.scaling.factor": 4.0}),
    "qwen2, yarn": (
        "qwen2",
        Qwen2Config(**{k: v for k, v in SHAPE.items() if k != "head_dim"} | {"rope_parameters": YARN}),
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64},
    ),
    "qwen3, wide heads": ("qwen3", Qwen3Config(**SHAPE), {"attention.key_length": 16, "attention.value_length": 16}),
    "gemma2": ("gemma2", gemma2(7, 16), GEMMA | {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}),
    "gemma2, other caps": (
        "gemma2",
        gemma2(3, 16, attn_logit_softcapping=5.0, final_logit_softcapping=3.0),
        GEMMA | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    ),
    "gemma2 27B": ("gemma2", gemma2(46, 32 // 4), GEMMA),
    "gemma3 4B": ("gemma3", gemma3(7, 16), GEMMA | STRETCHED),
    "gemma3 27B": ("gemma3", gemma3(62, 32 // 4), GEMMA | STRETCHED),
    "gemma3, other bases": (
        "gemma3",
        gemma3(7, 16, {k: {"rope_type": "default", "rope_theta": v} for k, v in zip(LINEAR, (5e3, 5e5), strict=True)}),
        GEMMA | {"rope.freq_base": 5e5, "rope.freq_base_swa": 5e3, "attention.sliding_window_pattern": 6},
    ),
    "phi3, window and long factors": (
        "phi3",
        Phi3Config(
            **{k: v for k, v in SHAPE.items() if k != "head_dim"} | {"hidden_size": 64},
            sliding_window=20,
            original_max_position_embeddings=64,
            pad_token_id=0,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "short_factor": LONG,
                "long_factor": [2 * one for one in LONG],
                "attention_factor": 1.2,
                "original_max_position_embeddings": 64,
                "partial_rotary_factor": 1.0,
            },
        ),
        {
            "rope.dimension_count": 16,
            "attention.sliding_window": 20,
            "rope.scaling.attn_factor": 1.2,
            "rope.scaling.original_context_length": 64,
        },
    ),
}


def converted(architecture: str, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return metadata and tensors as llama.cpp's converter leaves them: names, Gemma's norms, rotary factors."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config, state = model.config, model.state_dict()
    if architecture == "llama":
        keys, tensors = llama_tensors(folder)
    else:
        keys = keys_of(config) if "rope_theta" in config.rope_parameters else keys_of(_flat(config))
        tensors = {}
        for name, place in get_gguf_hf_weights_map(model, TensorProcessor(config=config.to_dict())).items():
            if not (place == "lm_head.weight" and config.tie_word_embeddings):
                offset = 1.0 if "gemma" in architecture and name.endswith("norm.weight") else 0.0
                tensors[name] = state[place].numpy() + np.float32(offset)
    rope = config.rope_parameters
    if rope.get("rope_type") == "llama3":
        inverse = model.model.rotary_emb.inv_freq
        plain = 1.0 / rope["rope_theta"] ** (np.arange(0, 16, 2) / 16)
        tensors["rope_freqs.weight"] = (plain / inverse.numpy()).astype(np.float32)
    for kind in ("short", "long"):
        if f"{kind}_factor" in rope:
            tensors[f"rope_factors_{kind}.weight"] = np.array(rope[f"{kind}_factor"], np.float32)
    return keys, tensors


def _flat(config: Any) -> Any:
    copy = type(config).from_dict(config.to_dict())
    copy.rope_parameters = config.rope_parameters["full_attention"]
    return copy


def states(folder: Path, length: int) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 512, (1, length)))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True, use_cache=False)
    return np.concatenate([*(one[0].numpy() for one in out.hidden_states), out.logits[0].numpy()], axis=1)


@pytest.mark.parametrize("name", CASES)
def test_what_was_written_computes_the_same_when_it_is_read(
    name: str, tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    architecture, config, keys = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # large enough that attention looks somewhere
            parameter.data = torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.1)
        model.save_pretrained(tmp_path / "original")
    found, tensors = converted(architecture, tmp_path / "original")
    write(tmp_path / "one.gguf", architecture, found | keys, tensors, tiny_models["llama"][0])
    read = checkpoint_of_gguf(tmp_path / "one.gguf", Store(tmp_path / "store"), Silent())
    for length in (40, 200):  # within and beyond the lengths that stretched positions begin at
        expected, ours = states(tmp_path / "original", length), states(read, length)
        assert np.abs(ours - expected).max() <= 2e-4 * np.abs(expected).max()


def test_a_quantised_file_computes_what_its_numbers_say(tiny_models: Mapping[str, list[Path]], tmp_path: Path) -> None:
    _, config, keys = CASES["llama 3.1"]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "original")
    found, tensors = converted("llama", tmp_path / "original")
    kinds = (GGMLQuantizationType.Q8_0,)
    write(tmp_path / "one.gguf", "llama", found | keys, tensors, tiny_models["llama"][0], kinds)
    read = checkpoint_of_gguf(tmp_path / "one.gguf", Store(tmp_path / "store"), Silent())
    expected, ours = states(tmp_path / "original", 200), states(read, 200)
    assert 1e-6 < np.abs(ours - expected).max() / np.abs(expected).max() < 0.05


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"attention.clamp_kqv": 8.0}, "llama.attention.clamp_kqv = 8.0"),
    "scale": ({"attention.scale": 0.1}, "llama.attention.scale"),
    "two": ({"logit_scale": 0.5, "residual_scale": 0.2}, "llama.logit_scale.*llama.residual_scale"),
    "stretching unknown": ({"rope.scaling.type": "twisted", "rope.scaling.factor": 2.0}, "rope.scaling.type = twisted"),
    "yarn's temperature": ({"rope.scaling.type": "yarn", "rope.scaling.yarn_log_multiplier": 0.1}, "yarn_log_mult"),
    "half a head turned": ({"rope.dimension_count": 8}, "LlamaConfig cannot be told: llama.rope.dimension_count = 8"),
    "window": ({"attention.sliding_window": 8}, "llama.attention.sliding_window = 8"),
    "values of another width": ({"attention.value_length": 8}, "llama.attention.value_length = 8"),
    "window of nothing": ({"attention.sliding_window": 0, "expert_count": 0, "attention.causal": True}, ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_metadata_that_cannot_be_applied_is_refused_by_name(
    name: str, tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    more, message = REFUSED[name]
    AutoModelForCausalLM.from_config(llama()).save_pretrained(tmp_path / "original")
    found, tensors = converted("llama", tmp_path / "original")
    write(tmp_path / "one.gguf", "llama", found | OFTEN | more, tensors, tiny_models["llama"][0])
    if not message:
        assert checkpoint_of_gguf(tmp_path / "one.gguf", Store(tmp_path / "store"), Silent()).is_dir()
        return
    with pytest.raises(ModelError, match=message):
        checkpoint_of_gguf(tmp_path / "one.gguf", Store(tmp_path / "store"), Silent())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"split.count": 3, "split.no": 0}, "is part 1 of 3 of a model. Join the parts"),
        ({"general.type": "adapter"}, "holds no model, but .*'adapter'"),
        ({"general.type": "mmproj"}, "holds no model, but .*'mmproj'"),
    ],
)
def test_a_file_that_is_no_whole_model_is_refused(
    more: dict[str, Any], message: str, tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    AutoModelForCausalLM.from_config(llama()).save_pretrained(tmp_path / "original")
    found, tensors = converted("llama", tmp_path / "original")
    write(tmp_path / "one.gguf", "llama", found | OFTEN, tensors, tiny_models["llama"][0], general=more)
    with pytest.raises(ModelError, match=message):
        checkpoint_of_gguf(tmp_path / "one.gguf", Store(tmp_path / "store"), Silent())
