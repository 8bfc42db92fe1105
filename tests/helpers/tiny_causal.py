"""Tiny random models of every causal class of transformers, and which points the generic family finds in them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.models import Layout, LoadedModel, Location, ModelAdapter, Placement, Weights
from bridge.references import POINTS, Site

MOST_PARAMETERS = 30_000_000

# Whatever name a configuration has for a size: only those that it knows are set.
_SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "intermediate_size", "ffn_dim", "decoder_ffn_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_layers", "num_key_value_heads", "num_experts_per_tok", "moe_k"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace", "encoder_attention_heads"), 1),
    **dict.fromkeys(("n_positions", "max_position_embeddings"), 128),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "head_dim", "v_head_dim"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "rotary_dim"), 8),
    "vocab_size": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
# What a class asks for beside that.
_WINDOWS = {"layer_types": ["sliding_attention", "full_attention"] * 2}
_SWITCHED = {"use_sliding_window": True, "sliding_window": 8}
_INDEXED = {"layer_types": ["indexed_attention", "full_attention"] * 2, "index_head_dim": 16, "index_n_heads": 2}
_LINEAR = {"layer_types": ["linear_attention", "full_attention"] * 2}
_SCALED = {"residual_multiplier": 0.22}
_EXPERTS = {"mlp_layer_types": ["dense", "sparse"] * 2}
_MORE: Mapping[str, Mapping[str, Any]] = {
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "bamba": {"attn_layer_indices": [1, 3]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2, "residual_multiplier": 0.22},
    **dict.fromkeys(("granite", "granitemoe", "granitemoeshared", "granite_swa", "granitemoe_swa"), _SCALED),
    **dict.fromkeys(("olmo_hybrid", "kimi_linear", "bailing_hybrid", "qwen3_5_text", "qwen3_5_moe_text"), _LINEAR),
    **dict.fromkeys(("gemma3_text", "kolibri1", "laguna", "ministral"), _WINDOWS),
    **dict.fromkeys(("qwen2", "qwen3", "smollm3"), _WINDOWS | _SWITCHED),
    **dict.fromkeys(("deepseek_v32", "glm_moe_dsa", "axk2"), _INDEXED),
    "hy_v4": {"layer_types": ["indexed_attention", "full_attention"] * 2},
    "qwen3_next": _LINEAR | {"mlp_only_layers": [1]},
    "qwen3_moe": {"mlp_only_layers": [1]},
    "qwen2_moe": _WINDOWS | _SWITCHED | {"mlp_only_layers": [1]},
    "dots1": _WINDOWS | {"n_shared_experts": 1},
    "cohere2_moe": _EXPERTS,
    "mellum": _WINDOWS | _EXPERTS,
    "minimax_m3_vl_text": _EXPERTS | {"layer_types": ["full_attention", "minimax_m3_sparse"] * 2},
    "inkling_text": _EXPERTS | {"layer_types": ["hybrid_sliding", "hybrid"] * 2},
    "inkling2_text": {"layer_types": ["hybrid_sliding", "hybrid"] * 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "mamba2": {"head_dim": 32, "n_groups": 1},
    "gemma4_text": {"vocab_size_per_layer_input": 512, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0},
    "gemma3n_text": _WINDOWS | {"vocab_size_per_layer_input": 512, "num_kv_shared_layers": 0},
    "xmod": {"default_language": "en_XX"},
    "reformer": {"is_decoder": True, "axial_pos_embds": False, "attn_layers": ["local", "lsh"] * 2},
    "zaya": {"num_experts_per_tok": 1},
    "zamba2": {"layer_types": ["mamba", "hybrid"] * 2, "num_mem_blocks": 1, "hybrid_layer_ids": [1, 3]},
    "llama4_text": {"interleave_moe_layer_step": 2},
}


@dataclass(frozen=True)
class Outcome:
    """What became of a class.

    Attributes:
        name: Of the class.
        points: What works.
        parts: Of the points that are not the same module in every block, which modules they are.
        streams: How many residual streams there are, and which one a point means; empty for one.
        causal: Whether it is.
        refused: What bridge says, where it does not load.
        not_tiny: Why no tiny model of the class was made.
    """

    name: str
    points: tuple[str, ...] = ()
    parts: str = ""
    streams: str = ""
    causal: bool = True
    refused: str = ""
    not_tiny: str = ""


def causal_types() -> list[str]:
    """Return every model type that transformers has a causal class for, without those served by their own family."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_config(model_type: str) -> Any:
    """Return a text configuration of a type, every size that it names made small."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    text = CONFIG_MAPPING[model_type]().get_text_config(decoder=True)
    kind = type(text)
    sizes = {key: value for key, value in _SIZES.items() if _is_size(text, key)}
    if "qk_rope_head_dim" in sizes:
        sizes.pop("head_dim", None)
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]  # latent attention has no groups
    return kind(**sizes | _MORE.get(text.model_type, {}))


def _is_size(config: Any, key: str) -> bool:
    if isinstance(getattr(type(config), key, None), property):
        return False
    try:
        value = getattr(config, key, "absent")
    except Exception:  # sizes that differ from layer to layer
        return False
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def outcome(model_type: str, adapter: ModelAdapter, folder: Any) -> Outcome:
    """Make a tiny model of a type, load it through a family, and read every point of every block.

    Raises:
        Exception: Whatever the family raises that is no refusal in words.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    try:
        path = _written(model_type, folder)
    except Exception as error:  # a configuration that cannot be made small in this way
        return Outcome(
            name, not_tiny=f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
        )
    try:
        model = adapter.load(Weights(str(path)), Placement("cpu", "float32"))
    except BridgeError as error:
        return Outcome(name, refused=str(error).split("\n")[0])
    _read_all(model)
    layout = model.layout
    points = tuple(point for point in POINTS if point in layout.points)
    return Outcome(name, points, _parts(layout), _streams(layout), model.causal)


def _parts(layout: Layout) -> str:
    each = {point: layout.points[point] for point in ("attn_out", "mlp_out") if point in layout.points}
    return "; ".join(
        f"`{point}`: {', '.join(sorted({f'`{location.module}`' for location in found}))}"
        for point, found in each.items()
        if not isinstance(found, Location)
    )


def _streams(layout: Layout) -> str:
    streams = layout.streams(Site(0))
    return f"{streams.count} streams, `{streams.default}` is meant" if streams else ""


def _written(model_type: str, folder: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from bridge.models.tiny_tokenizer import tiny_tokenizer
    from bridge.models.transformers_adapter import quiet

    with torch.random.fork_rng(), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        config = tiny_config(model_type)
        with torch.device("meta"):
            size = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
        if size > MOST_PARAMETERS:
            raise ValueError(f"{size:,} parameters are left")
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        for weight in model.parameters():
            if weight.dim() > 1 and not weight.any():  # begins at zero, as if its part were not there
                torch.nn.init.normal_(weight, std=0.02)
        with torch.inference_mode():
            model(input_ids=torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]]), use_cache=False)
        model.save_pretrained(folder / model_type)
        tiny_tokenizer(bos=False).save_pretrained(folder / model_type)
    return folder / model_type


def _read_all(model: LoadedModel) -> None:
    import torch

    ids = torch.tensor([[3, 10, 40, 7, 100]])
    sites = [Site(layer, point) for layer in range(model.n_layers) for point in model.layout.points]
    found = dict(zip(sites, model.activations(ids, torch.ones_like(ids), sites), strict=True))
    for layer in range(model.n_layers):
        at = {point: found[Site(layer, point)] for point in model.layout.points}
        if {"attn_out", "mlp_out"} <= set(at):
            torch.testing.assert_close(at["resid_pre"] + at["attn_out"] + at["mlp_out"], at["resid_post"])
        if {"attn_out", "resid_mid"} <= set(at):
            torch.testing.assert_close(at["resid_pre"] + at["attn_out"], at["resid_mid"])
        if {"resid_mid", "mlp_out"} <= set(at):
            torch.testing.assert_close(at["resid_mid"] + at["mlp_out"], at["resid_post"])


MODELS_PAGE = Path(__file__).parents[2] / "docs" / "MODELS.md"


def models_page(outcomes: Sequence[Outcome]) -> str:
    """Return the page of the documentation that says what works in every class."""
    from transformers import __version__

    by_name = {
        one.name: one for one in sorted(outcomes, key=lambda one: (one.name.lower(), bool(one.not_tiny)), reverse=True)
    }
    each = sorted(by_name.values(), key=lambda one: one.name.lower())
    rows = [
        f"| `{one.name}` | "
        + " | ".join("yes" if point in one.points else "" for point in POINTS)
        + f" | {'; '.join(filter(None, ('' if one.causal else 'encoder', one.streams, one.parts)))} |"
        for one in each
        if one.points
    ]
    refused = [f"- `{one.name}`: {one.refused}" for one in each if one.refused]
    untried = [f"`{one.name}`" for one in each if one.not_tiny]
    head = [*POINTS, "note"]
    return f"""# Supported model classes

This table covers every class that transformers {__version__} has for `AutoModelForCausalLM`. Each was made tiny and
random, loaded through the family `huggingface` and read at every point of every block ({len(rows)} classes). A specific
family plugin may find more points. `tools/build_models.py` writes this page; a test compares it with the behaviour.

If a class has blocks of several kinds, its tiny model has them too: window and full attention, attention and
recurrences, dense MLPs and experts. A point is listed if every block has it, and the stream and the parts add up to the
rounding of the dtype in every block. If blocks name a part differently, the note says how. `resid_pre` and `resid_post`
are the block's input and output. In a class marked `encoder` tokens attend to later tokens: it can be read, mapped and
explained, but predicts no tokens.

`attn_out` is the vector that the token mixer adds to the stream: attention, linear attention, a state-space recurrence
(Mamba) or a convolution. One point therefore has one role in every block of a mixed model. A test checks that the part
mixes tokens: another first token at the block's input changes the part's output at later tokens. TransformerLens has
`hook_attn_out` in blocks with attention only, and `mixer` or `linear_attn` in others; in blocks with attention the two
are the same. Blocks that add one part each have `attn_out` if all of them mix tokens, and none if some are MLPs
(Nemotron-H). Models that scale a part's output before adding it (Granite's `residual_multiplier`, MiniCPM3) have no
module that returns the added vector, and so no `attn_out` and `mlp_out`.

In a model with several residual streams, `20.resid_post.stream1` is one of them and `20.resid_post.mean` their mean;
the note names the stream that `@20` means. AltUp (Gemma 3n) has an active stream: every block's attention and MLP read
and correct it first, and it alone is read out without a projection; the other streams have bases of their own. The
streams of hyper-connections (DeepSeek-V4) begin as copies of the embedding. Each block and the final norm read a sum of
them with weights that differ from token to token; the mean is that sum with equal weights. A single stream can be
edited. The mean cannot, because many changes of the streams give the same mean.

Batching texts of different lengths changes results by rounding only: 1e-5 of the largest number is allowed in float32.
Gemma 4 needs 2e-5: its attention does not divide by the square root of the head's width, so rounding within a softmax
grows from block to block. This happens in transformers' own attention, `sdpa` and `eager` alike; with `sdpa` in float64
the difference is below 1e-12.

| class | {" | ".join(head)} |
| --- |{" --- |" * len(head)}
{chr(10).join(rows)}

## Refused

{chr(10).join(refused)}

## Not tried

No tiny model of these could be made from their configuration by rule; nothing is known of them either way:
{", ".join(untried)}.
"""
