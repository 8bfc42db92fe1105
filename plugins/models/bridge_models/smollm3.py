"""SmolLM3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter, sequential

if TYPE_CHECKING:
    from torch import nn


@final
class SmolLM3(TransformersAdapter):
    """`SmolLM3ForCausalLM`: Llama's blocks; every fourth block has no rotary positions."""

    name = "smollm3"
    model_types = ("smollm3",)

    def aliases(self) -> Sequence[Alias]:
        """Return the only size, with its base model as variant `base`."""
        base = {"base": "HuggingFaceTB/SmolLM3-3B-Base"}
        return [Alias("smollm3-3b", "HuggingFaceTB/SmolLM3-3B", variants=base)]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a SmolLM3 decoder."""
        return sequential("model.layers", attn_out="self_attn", resid_mid="post_attention_layernorm", mlp_out="mlp")

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `SmolLM3Config` whose fourth block has no rotary positions."""
        from transformers import SmolLM3Config

        return [
            SmolLM3Config(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=5,
                num_attention_heads=4,
                num_key_value_heads=2,
                bos_token_id=None,
                eos_token_id=1,
                pad_token_id=1,
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the SmolLM3 family."""
    register(SmolLM3())
