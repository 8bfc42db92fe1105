"""What a GGUF file's metadata says of the forward pass: every key is applied or checked, or the file is refused by it.

transformers maps a few keys to its configuration and drops the others. Meanings are those of llama.cpp, which writes
and runs such files: src/models/*.cpp and src/llama-model.cpp there (MIT), and gguf's `constants.py` for the names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge.errors import ModelError
from bridge.models.gguf_rope import rope_scaling

HARMLESS = ("tensor_data_layout", "rope.scaling.finetuned", "pooling_type", "vocab_size", "context_length")
"""Say nothing of what a block computes; the vocabulary and the context are held to by shapes and by transformers."""

NORM_EPSILONS = ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps")
LARGEST = {"gemma2": 46, "gemma3": 62}
"""Blocks of the 27B models, whose queries are scaled by width over heads, and not by the width of a head."""


def completed(
    config: Any, architecture: str, keys: Mapping[str, Any], read: set[str], factors: Mapping[str, Any], path: str
) -> Any:
    """Put into a configuration what transformers left out.

    Args:
        config: What transformers made of the file; changed in place.
        architecture: `general.architecture`.
        keys: The metadata of the architecture, without its name in front.
        read: The keys that transformers has put into the configuration.
        factors: The file's tensors of rotary factors, float32, by name.
        path: What to call the file.

    Returns:
        The configuration.

    Raises:
        ModelError: Naming keys that say something which cannot be applied.
    """
    refused = []
    # Llama's rotary width is taken for that of a head: what is said of heads comes first, and the other is held to it.
    for key, value in sorted(keys.items(), key=lambda item: item[0] != "attention.key_length"):
        if key in read or key in HARMLESS or key.startswith("rope.scal") or _says_nothing(key, value):
            continue
        if key not in _APPLY or not _APPLY[key](config, value):
            refused.append(f"{architecture}.{key} = {value!s:.40}")
    scaling, unknown = rope_scaling(keys, factors, config.max_position_embeddings) if _turns(config) else ({}, [])
    refused += [f"{architecture}.{key} = {keys[key]!s:.40}" for key in unknown]
    if not _turns(config):
        refused += [f"{architecture}.{key}" for key in keys if key.startswith("rope.scal")] + list(factors)
    if refused:
        raise ModelError(
            f"{path} says what transformers' {type(config).__name__} cannot be told: {', '.join(sorted(refused))}.",
            cause="These values change what the model computes, so it would be read wrong without them.",
            remedy="Use the original checkpoint.",
        )
    if scaling:
        _parameters(config).update(scaling)
        if "original_max_position_embeddings" in scaling and hasattr(config, "original_max_position_embeddings"):
            config.original_max_position_embeddings = scaling["original_max_position_embeddings"]
    if (config.pad_token_id or 0) >= config.vocab_size:  # the class's default, of another vocabulary
        config.pad_token_id = None
    if architecture in LARGEST:
        heads = config.num_attention_heads
        largest = config.num_hidden_layers == LARGEST[architecture]
        config.query_pre_attn_scalar = config.hidden_size // heads if largest else config.head_dim
    return config


def _says_nothing(key: str, value: Any) -> bool:
    """Tell whether a value is how a key says that there is nothing of the kind."""
    off = key.startswith("expert_") or key in ("attention.sliding_window", "attention.max_alibi_bias", "logit_scale")
    return (off and not value) or (key == "attention.causal" and bool(value))


def _turns(config: Any) -> bool:
    return bool(getattr(config, "rope_parameters", None))


def _parameters(config: Any) -> dict[str, Any]:
    """Return the rotary parameters of a configuration; of two kinds of blocks, those that see the whole text."""
    found: dict[str, Any] = config.rope_parameters
    whole: dict[str, Any] = found.get("full_attention", found)
    return whole


def _width_of_head(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _key_length(config: Any, value: Any) -> bool:
    if hasattr(config, "head_dim"):
        config.head_dim = int(value)
    return bool(_width_of_head(config) == value)


def _rotary_width(config: Any, value: Any) -> bool:
    if not _turns(config):
        return bool(value == _width_of_head(config))
    if value == _width_of_head(config) and _parameters(config).get("partial_rotary_factor", 1.0) == 1.0:
        return True
    return _partial(config, value / _width_of_head(config))


def _partial(config: Any, share: float) -> bool:
    """Set which share of a head is turned, where the architecture has the choice."""
    if "partial_rotary_factor" not in _parameters(config):
        return False
    _parameters(config)["partial_rotary_factor"] = share
    return True


def _base(kind: str) -> Callable[[Any, Any], bool]:
    def apply(config: Any, value: Any) -> bool:
        if not _turns(config):
            return False
        found = config.rope_parameters.get(kind) if kind else _parameters(config)
        if found is None:
            return bool(config.rope_parameters.get("rope_theta") == value)
        found["rope_theta"] = float(value)
        return True

    return apply


def _epsilon(config: Any, value: Any) -> bool:
    name = next((name for name in NORM_EPSILONS if hasattr(config, name)), None)
    if name:
        setattr(config, name, float(value))
    return bool(name)


def _window(config: Any, value: Any) -> bool:
    """Set the window of Phi-3, whose blocks all have it; a window as wide as the context is none."""
    if config.model_type == "phi3":
        config.sliding_window = int(value)
        return True
    return bool(value >= config.max_position_embeddings)


def _pattern(config: Any, value: Any) -> bool:
    """Set which blocks have a window: every but each n-th, or a list of flags."""
    if not getattr(config, "layer_types", None):
        return False
    depth = config.num_hidden_layers
    flags = value if isinstance(value, list) else [value == 0 or (i + 1) % value != 0 for i in range(depth)]
    config.layer_types = ["sliding_attention" if flag else "full_attention" for flag in flags]
    return bool(len(flags) == depth)


def _same_name(name: str, kind: Callable[[Any], Any]) -> Callable[[Any, Any], bool]:
    def apply(config: Any, value: Any) -> bool:
        there = hasattr(config, name)
        if there:
            setattr(config, name, kind(value))
        return there

    return apply


def _inner_width(config: Any, value: Any) -> bool:
    """Set the width of GPT-2's MLP, which transformers maps to a name that nothing reads."""
    name = next((name for name in ("n_inner", "intermediate_size") if hasattr(config, name)), "")
    return bool(name) and _same_name(name, int)(config, value)


_APPLY: dict[str, Callable[[Any, Any], bool]] = {
    "attention.key_length": _key_length,
    "attention.value_length": lambda config, value: _width_of_head(config) == value,
    "attention.layer_norm_epsilon": _epsilon,
    "attention.layer_norm_rms_epsilon": _same_name("rms_norm_eps", float),
    "attention.sliding_window": _window,
    "attention.sliding_window_pattern": _pattern,
    "attn_logit_softcapping": _same_name("attn_logit_softcapping", float),
    "expert_feed_forward_length": _same_name("moe_intermediate_size", int),
    "expert_shared_feed_forward_length": _same_name("shared_expert_intermediate_size", int),
    "feed_forward_length": _inner_width,
    "final_logit_softcapping": _same_name("final_logit_softcapping", float),
    "rope.dimension_count": _rotary_width,
    "rope.freq_base": _base(""),
    "rope.freq_base_swa": _base("sliding_attention"),
    "use_parallel_residual": _same_name("use_parallel_residual", bool),
}
