"""Gemma 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter
from bridge.models.layout import sequential

if TYPE_CHECKING:
    from torch import nn


@final
class Gemma2(TransformersAdapter):
    """`Gemma2ForCausalLM`.

    Attention and MLP have a norm before and a norm after them, so each adds the output of its second norm to the
    stream. Attention is computed unfused (`eager`), because the fused kernels cannot cap its scores.
    """

    name = "gemma2"
    model_types = ("gemma2",)

    def aliases(self) -> Sequence[Alias]:
        """Return the three sizes; nearly all Gemma Scope dictionaries were trained on the variants `base`."""
        return [
            Alias(f"gemma2-{size}", f"google/gemma-2-{size}-it", variants={"base": f"google/gemma-2-{size}"})
            for size in ("2b", "9b", "27b")
        ]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a Gemma-2 decoder."""
        return sequential(
            "model.layers",
            attn_out="post_attention_layernorm",
            resid_mid="pre_feedforward_layernorm",
            mlp_out="post_feedforward_layernorm",
        )

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `Gemma2Config` with both attention kinds."""
        from transformers import Gemma2Config

        return [
            Gemma2Config(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=16,
                query_pre_attn_scalar=16,
                sliding_window=8,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Gemma 2 family."""
    register(Gemma2())
