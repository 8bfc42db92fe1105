"""Llama 4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter, sequential

if TYPE_CHECKING:
    from torch import nn

    from bridge.models.loaded import CachedInputs


@final
class Llama4(TransformersAdapter):
    """`Llama4ForCausalLM`, also from a checkpoint of `Llama4ForConditionalGeneration`, which also reads images.

    A mixture of experts returns (batch * tokens, d_model); `mlp_out` is its reshape to (batch, tokens, d_model).
    Blocks attend within chunks of tokens; every fourth block attends to all tokens.
    """

    name = "llama4"
    model_types = ("llama4", "llama4_text")
    unread = ("vision_model.", "multi_modal_projector.")

    def aliases(self) -> Sequence[Alias]:
        """Return both sizes, each with its base model as variant `base`."""
        return [
            Alias(
                f"llama4-{name.lower()}",
                f"meta-llama/Llama-4-{model}-Instruct",
                variants={"base": f"meta-llama/Llama-4-{model}"},
            )
            for name, model in (("scout", "Scout-17B-16E"), ("maverick", "Maverick-17B-128E"))
        ]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a Llama-4 decoder."""
        return sequential(
            "model.layers", attn_out="self_attn", resid_mid="post_attention_layernorm", mlp_out="feed_forward"
        )

    def cached_inputs(self, module: nn.Module) -> CachedInputs | None:
        """Use no cache: blocks without rotary positions scale queries by their index in the row, padding included."""
        return None

    def tiny_configs(self) -> Sequence[Any]:
        """Return tiny text models with mixtures in all blocks (Scout) and in every second (Maverick), and a wrapper."""
        from transformers import Llama4Config, Llama4TextConfig

        text = {
            "vocab_size": 512,
            "hidden_size": 32,
            "intermediate_size": 16,
            "intermediate_size_mlp": 64,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "num_local_experts": 4,
            "attention_chunk_size": 8,
            "floor_scale": 8,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        }
        images = {
            "hidden_size": 16,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "vision_output_dim": 16,
            "projector_input_dim": 16,
            "projector_output_dim": 16,
        }
        every_other = text | {"interleave_moe_layer_step": 2, "use_qk_norm": False}
        wrapper = Llama4Config(
            text_config=dict(text),
            vision_config=images,
            image_token_index=511,
            boi_token_index=510,
            eoi_token_index=509,
        )
        return [Llama4TextConfig(**text), Llama4TextConfig(**every_other), wrapper]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Llama 4 family."""
    register(Llama4())
