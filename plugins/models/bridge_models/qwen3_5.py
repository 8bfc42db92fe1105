"""Qwen3.5 and Qwen3.6, dense and mixtures of experts, and Qwen3-Next, whose blocks they took over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter, mixed, sequential

if TYPE_CHECKING:
    from torch import nn

ATTENTION = ("linear_attn", "self_attn")
"""Names of the attention module: linear attention in three of four blocks, full attention in the fourth."""


@final
class Qwen35(TransformersAdapter):
    """`Qwen3_5ForCausalLM`, `Qwen3_5MoeForCausalLM` and `Qwen3NextForCausalLM`.

    Released checkpoints are `...ForConditionalGeneration`, which also read images: only their text model is loaded.
    Their tokenizer adds no BOS.
    """

    name = "qwen3_5"
    model_types = ("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_next")

    def aliases(self) -> Sequence[Alias]:
        """Return the sizes of Qwen3.5 (up to 35B with variant `base`, except 27B), of Qwen3.6, and of Qwen3-Next."""
        with_base = ("0.8B", "2B", "4B", "9B", "35B-A3B")
        more = ("Qwen3.5-27B", "Qwen3.5-122B-A10B", "Qwen3.5-397B-A17B", "Qwen3.6-27B", "Qwen3.6-35B-A3B")
        return [
            *(
                Alias(f"qwen3.5-{size.lower()}", f"Qwen/Qwen3.5-{size}", variants={"base": f"Qwen/Qwen3.5-{size}-Base"})
                for size in with_base
            ),
            *(Alias(name.lower(), f"Qwen/{name}") for name in more),
            Alias(
                "qwen3-next-80b-a3b",
                "Qwen/Qwen3-Next-80B-A3B-Instruct",
                variants={"thinking": "Qwen/Qwen3-Next-80B-A3B-Thinking"},
            ),
        ]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of both kinds of blocks."""
        blocks = "model.layers"
        attention = [
            next(name for name in ATTENTION if hasattr(block, name))
            for block in module.get_submodule(blocks).children()
        ]
        return mixed(
            [
                sequential(blocks, attn_out=name, resid_mid="post_attention_layernorm", mlp_out="mlp")
                for name in attention
            ]
        )

    def tiny_configs(self) -> Sequence[Any]:
        """Return a tiny configuration of each text class, with both kinds of blocks, and one of each wrapper."""
        from transformers import (
            Qwen3_5Config,
            Qwen3_5MoeConfig,
            Qwen3_5MoeTextConfig,
            Qwen3_5TextConfig,
            Qwen3NextConfig,
        )

        text = {
            "vocab_size": 512,
            "hidden_size": 32,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 24,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 1,
        }
        dense = text | {"intermediate_size": 64, "rope_parameters": _ROPE}
        sparse = text | _EXPERTS | {"rope_parameters": _ROPE}
        mixture = text | _EXPERTS | {"intermediate_size": 64, "mlp_only_layers": [0]}
        return [
            Qwen3_5TextConfig(**dense),
            Qwen3_5MoeTextConfig(**sparse),
            Qwen3NextConfig(**mixture),
            Qwen3_5Config(text_config=dict(dense), **_IMAGES),
            Qwen3_5MoeConfig(text_config=dict(sparse), **_IMAGES),
        ]


_ROPE = {
    "rope_type": "default",
    "rope_theta": 10_000.0,
    "partial_rotary_factor": 0.25,
    "mrope_section": [1, 1, 1],
    "mrope_interleaved": True,
}
_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_IMAGES = {
    "vision_config": {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 32,
        "num_position_embeddings": 16,
    },
    "image_token_id": 511,
    "video_token_id": 510,
    "vision_start_token_id": 509,
    "vision_end_token_id": 508,
}


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Qwen3.5 family."""
    register(Qwen35())
