"""Gemma 4, text-only and inside the wrappers that read images and sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, Location, ModelAdapter, TransformersAdapter

if TYPE_CHECKING:
    from torch import nn

    from bridge.models.loaded import CachedInputs


@final
class Gemma4(TransformersAdapter):
    """`Gemma4ForCausalLM`, `Gemma4UnifiedForCausalLM`, and their `...ForConditionalGeneration`.

    A block multiplies its whole output by one learned number (`layer_scalar`). Blocks of E2B and E4B add a third part,
    looked up by the token. So `resid_mid` plus the MLP's output is not `resid_post`, and there is no point `mlp_out`:
    the MLP's output is read by its module path, `post_feedforward_layernorm`.
    """

    name = "gemma4"
    model_types = ("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text")

    def aliases(self) -> Sequence[Alias]:
        """Return the instruction-tuned sizes, each with its base model as variant `base`."""
        return [
            Alias(f"gemma4-{size.lower()}", f"google/gemma-4-{size}-it", variants={"base": f"google/gemma-4-{size}"})
            for size in ("E2B", "E4B", "12B", "26B-A4B", "31B")
        ]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of the text decoder, inside the wrapper or alone."""
        wrapped = hasattr(module.get_submodule("model"), "language_model")
        return Layout(
            "model.language_model.layers" if wrapped else "model.layers",
            {
                "resid_pre": Location("", "input"),
                "attn_out": Location("post_attention_layernorm", "output"),
                "resid_mid": Location("pre_feedforward_layernorm", "input"),
                "resid_post": Location("", "output"),
            },
        )

    def cached_inputs(self, module: nn.Module) -> CachedInputs | None:
        """Continue from a cache with every token in every block.

        If only the last token's logits are requested, transformers skips all other tokens in blocks that reuse the keys
        of earlier blocks; edits of the skipped tokens would then find no activation.
        """
        plain = super().cached_inputs(module)
        if plain is None:
            return None
        return lambda *new: {key: value for key, value in plain(*new).items() if key != "logits_to_keep"}

    def tiny_configs(self) -> Sequence[Any]:
        """Return tiny text models with the architectures of E2B, 26B-A4B and 12B, and a wrapper of each kind."""
        from transformers import Gemma4Config, Gemma4TextConfig, Gemma4UnifiedConfig, Gemma4UnifiedTextConfig

        text = {
            "vocab_size": 512,
            "hidden_size": 40,
            "intermediate_size": 64,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "global_head_dim": 16,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"] * 3,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        }
        tokens = {"vocab_size_per_layer_input": 512, "hidden_size_per_layer_input": 8}
        small = text | tokens | {"num_kv_shared_layers": 2, "use_double_wide_mlp": True}
        large = {"hidden_size_per_layer_input": 0, "attention_k_eq_v": True, "num_global_key_value_heads": 1}
        experts = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16}
        vision = {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "patch_size": 14,
        }
        unified = text | {"num_global_key_value_heads": 1}
        ids = {"image_token_id": 511, "video_token_id": 510, "audio_token_id": 509, "boi_token_id": 508}
        ids |= {"eoi_token_id": 507, "boa_token_id": 506, "eoa_token_index": 505}
        return [
            Gemma4TextConfig(**small),
            Gemma4TextConfig(**text, **large, **experts),
            Gemma4UnifiedTextConfig(**unified),
            Gemma4Config(text_config=dict(small), vision_config=vision, audio_config=None, **ids),
            Gemma4UnifiedConfig(text_config=dict(unified), vision_config=None, audio_config=None, **ids),
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Gemma 4 family."""
    register(Gemma4())
