"""Mistral 3: Ministral 3, and Mistral Small from 3.1 on, whose checkpoints read images too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter, Weights, sequential

if TYPE_CHECKING:
    from torch import nn


@final
class Mistral3(TransformersAdapter):
    """`Ministral3ForCausalLM`, and `Mistral3ForConditionalGeneration` around any of Mistral's text models.

    The wrapper has no text-only class, so it is loaded with its image encoder and run on text. Released FP8 weights are
    unpacked on loading.
    """

    name = "mistral3"
    model_types = ("ministral3", "mistral3", "mistral4")
    wrapped = True

    def aliases(self) -> Sequence[Alias]:
        """Return the instruction-tuned models, each with its base model as variant `base`."""
        return ALIASES

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of the text decoder, inside the wrapper or alone."""
        wrapped = hasattr(module.get_submodule("model"), "language_model")
        return sequential(
            "model.language_model.layers" if wrapped else "model.layers",
            attn_out="self_attn",
            resid_mid="post_attention_layernorm",
            mlp_out="mlp",
        )

    def tokenizer_options(self, weights: Weights) -> Mapping[str, Any]:
        """Use `tokenizer.json`, with the word pattern of Mistral's own tokenizer (Tekken).

        If `mistral-common` is installed, transformers would use its tokenizer, which does not report where tokens end.
        Files written before transformers 5 have a wrong pattern, which transformers corrects on request.
        """
        return {"mistral_format": False, "fix_mistral_regex": True}

    def load_options(self, weights: Weights) -> Mapping[str, Any]:
        """Request unpacked weights for FP8 checkpoints."""
        if weights.config.get("quantization_config", {}).get("quant_method") != "fp8":
            return {}
        from transformers import FineGrainedFP8Config

        return {"quantization_config": FineGrainedFP8Config(dequantize=True)}

    def tiny_configs(self) -> Sequence[Any]:
        """Return a tiny Ministral 3, a tiny Mistral Small 4 with a dense block, and a wrapper around each kind."""
        from transformers import Ministral3Config, Mistral3Config, Mistral4Config, MistralConfig, PixtralVisionConfig

        text = {
            "vocab_size": 512,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        }
        vision = PixtralVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            head_dim=8,
            image_size=28,
            patch_size=14,
        )
        turned = text | {"rope_parameters": _ROPE}
        latent = {key: value for key, value in text.items() if key not in ("head_dim", "num_key_value_heads")} | {
            "num_key_value_heads": 4,
            "moe_intermediate_size": 16,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 16,
        }
        return [
            Ministral3Config(**turned),
            Mistral4Config(**latent),
            *(
                Mistral3Config(text_config=inner, vision_config=vision, image_token_index=511)
                for inner in (MistralConfig(**text), Ministral3Config(**turned), Mistral4Config(**latent))
            ),
        ]


_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 1_000_000.0,
    "factor": 16.0,
    "original_max_position_embeddings": 8,
    "max_position_embeddings": 128,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}

ALIASES: Sequence[Alias] = (
    *(
        Alias(
            f"ministral3-{size.lower()}",
            f"mistralai/Ministral-3-{size}-Instruct-2512-BF16",
            variants={
                "base": f"mistralai/Ministral-3-{size}-Base-2512",
                "reasoning": f"mistralai/Ministral-3-{size}-Reasoning-2512",
            },
        )
        for size in ("3B", "8B", "14B")
    ),
    Alias(
        "mistral-small-3.1",
        "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
        variants={"base": "mistralai/Mistral-Small-3.1-24B-Base-2503"},
    ),
    Alias("mistral-small-3.2", "mistralai/Mistral-Small-3.2-24B-Instruct-2506"),
    Alias("mistral-small-4", "mistralai/Mistral-Small-4-119B-2603"),
)
"""For Ministral 3 the bfloat16 checkpoints: repositories without `-BF16` hold the same models in FP8."""


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Mistral 3 family."""
    register(Mistral3())
