"""Qwen3, the dense models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter
from bridge.models.layout import sequential

if TYPE_CHECKING:
    from torch import nn


@final
class Qwen3(TransformersAdapter):
    """`Qwen3ForCausalLM`: Qwen2's blocks, with norms on queries and keys; its tokenizer adds no BOS."""

    name = "qwen3"
    model_types = ("qwen3",)

    def aliases(self) -> Sequence[Alias]:
        """Return every dense size; all except the largest with their base models as variants `base`."""
        sizes = ("0.6B", "1.7B", "4B", "8B", "14B")
        return [
            *(
                Alias(f"qwen3-{size.lower()}", f"Qwen/Qwen3-{size}", variants={"base": f"Qwen/Qwen3-{size}-Base"})
                for size in sizes
            ),
            Alias("qwen3-32b", "Qwen/Qwen3-32B"),
        ]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a Qwen3 decoder."""
        return sequential("model.layers", attn_out="self_attn", resid_mid="post_attention_layernorm", mlp_out="mlp")

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `Qwen3Config` whose heads together are wider than the stream, as in the 0.6B model."""
        from transformers import Qwen3Config

        return [
            Qwen3Config(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=16,
                bos_token_id=None,
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Qwen3 family."""
    register(Qwen3())
