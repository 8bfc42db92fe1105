"""Every causal class of transformers through the generic family: it works or is refused in words; no tracebacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.models import Placement, Weights
from bridge.plugins import Registry
from bridge.testing import check_model
from tiny_causal import MODELS_PAGE, causal_types, models_page, outcome

ENDS = ("resid_pre", "resid_post")
ALL = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
MIXER = ("resid_pre", "attn_out", "resid_post")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("model_type", "points"),
    [
        ("deepseek_v3", ALL),  # the first block is dense, the others are mixtures
        ("dots1", ALL),
        ("bloom", ALL),  # attention and MLP return the stream, so what they add lies inside them
        ("qwen3_5_text", ALL),  # linear and full attention under two names
        ("qwen3_next", ALL),
        ("lfm2", ALL),  # convolutions and attention
        ("jamba", ALL),  # blocks of two classes
        ("olmo_hybrid", ALL),  # norms before the parts in some blocks, after them in others
        ("llama4_text", ALL),  # every other MLP returns a pair, of tokens one below the other
        ("opt", ALL),
        ("zamba2", MIXER),  # one recurrence a block, beside which attention goes through it
        ("mamba", MIXER),
        ("nemotron_h", ENDS),  # one part a block, of which some do not mix tokens
        ("falcon_h1", ("resid_pre", "resid_mid", "mlp_out", "resid_post")),  # two mixers side by side
        ("granite", ENDS),  # what a part returns is scaled before it is added
        ("openai-gpt", ("resid_pre", "attn_out", "resid_mid", "resid_post")),  # blocks return lists
        ("rwkv", ("resid_pre", "resid_mid", "mlp_out", "resid_post")),
    ],
)
def test_points_hold_in_every_block(
    model_type: str, points: tuple[str, ...], registry: Registry, tmp_path: Path
) -> None:
    found = outcome(model_type, registry.models["huggingface"], tmp_path)
    assert (found.refused, found.not_tiny) == ("", "")
    assert (found.points, found.causal) == (points, True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", ["deepseek_v3", "lfm2", "llama4_text", "gemma3n_text", "deepseek_v4"])
def test_laws_hold_for_mixed_blocks_and_several_streams(
    model_type: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cached decoding above all: a state of convolutions cannot be sorted by rows, so such a model reads all again."""
    adapter = registry.models["huggingface"]
    outcome(model_type, adapter, tmp_path)
    monkeypatch.setattr(type(adapter), "write_tiny_checkpoints", lambda *_: [tmp_path / model_type])
    check_model(adapter, tmp_path / "none")


@pytest.mark.filterwarnings("ignore")
def test_two_streams_that_change_in_turn_are_refused_in_words(registry: Registry, tmp_path: Path) -> None:
    assert "has several residual streams" in outcome("reformer", registry.models["huggingface"], tmp_path).refused


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", ["bert", "xlm"])
def test_what_sees_later_tokens_is_an_encoder(model_type: str, registry: Registry, tmp_path: Path) -> None:
    adapter = registry.models["huggingface"]
    found = outcome(model_type, adapter, tmp_path)
    assert (found.not_tiny, found.refused, found.causal) == ("", "", False)
    assert not adapter.describe(Weights(str(tmp_path / model_type))).causal, "known before anything is loaded"


@pytest.mark.filterwarnings("ignore")
def test_causality_is_tested_and_not_believed(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder whose attention is made bidirectional by its configuration."""
    import bridge_models.huggingface

    monkeypatch.setattr(bridge_models.huggingface, "_is_masked", lambda config: False)
    adapter = registry.models["huggingface"]
    assert not outcome("bert", adapter, tmp_path).causal
    assert adapter.describe(Weights(str(tmp_path / "bert"))).causal


@pytest.mark.filterwarnings("ignore")
def test_points_are_found_in_bfloat16_on_a_stream_of_real_scale(registry: Registry, tmp_path: Path) -> None:
    """One number a token is 1000 times the others, as in trained models, and rounds by more than what is added."""
    import torch
    from transformers import AutoModelForCausalLM

    adapter = registry.models["huggingface"]
    outcome("starcoder2", adapter, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "starcoder2")
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(50)
        model.model.embed_tokens.weight[:, 3] = 1000.0
        for block in model.model.layers:
            block.self_attn.o_proj.weight.mul_(10)
            block.mlp.c_proj.weight.mul_(10)
    model.save_pretrained(tmp_path / "starcoder2")
    loaded = adapter.load(Weights(str(tmp_path / "starcoder2")), Placement("cpu", "bfloat16"))
    assert tuple(sorted(loaded.layout.points)) == tuple(sorted(ALL))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("attention", "dtype", "allowed"), [
    ("sdpa", "float32", 2e-5), ("eager", "float32", 2e-5), ("sdpa", "float64", 1e-12),
])  # fmt: skip
def test_gemma_4_in_a_batch_differs_by_rounding_alone(
    attention: str, dtype: str, allowed: float, registry: Registry, tmp_path: Path
) -> None:
    """By more than the law of all families allows, and in transformers' own forward pass."""
    import torch
    from transformers import AutoModelForCausalLM

    outcome("gemma4_text", registry.models["huggingface"], tmp_path)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "gemma4_text", attn_implementation=attention, dtype=getattr(torch, dtype)
    )
    ids = torch.arange(3, 67).repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[0, 10:] = 0
    with torch.inference_mode():
        alone = model(ids[:1, :10], output_hidden_states=True).hidden_states
        batch = model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
    for one, other in zip(alone, batch, strict=True):
        assert float((one[0] - other[0, :10]).abs().max()) < allowed * float(one.abs().max())


@pytest.mark.filterwarnings("ignore")
def test_a_foreign_forward_that_fails_is_a_refusal(registry: Registry, tmp_path: Path) -> None:
    found = outcome("xlnet", registry.models["huggingface"], tmp_path)
    assert "blocks of XLNetLMHeadModel were not found" in found.refused


@pytest.mark.docs
@pytest.mark.filterwarnings("ignore")
def test_the_table_of_every_class_is_what_happens(registry: Registry, tmp_path: Path) -> None:
    adapter = registry.models["huggingface"]
    page = models_page([outcome(model_type, adapter, tmp_path) for model_type in causal_types()])
    assert MODELS_PAGE.read_text(encoding="utf-8") == page, "write it anew: .venv/bin/python tools/build_models.py"
