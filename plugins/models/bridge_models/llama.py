"""Llama and the models that share its architecture, SmolLM2 among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter
from bridge.models.layout import sequential

if TYPE_CHECKING:
    from torch import nn


@final
class Llama(TransformersAdapter):
    """`LlamaForCausalLM`: pre-norm blocks, attention first, then the MLP."""

    name = "llama"
    model_types = ("llama",)

    def aliases(self) -> Sequence[Alias]:
        """SmolLM2-135M-Instruct, at the layer that the project's measurements use."""
        return [Alias("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct", site="19")]

    def layout(self, module: nn.Module) -> Layout:
        """Sites of a Llama decoder."""
        return sequential("model.layers", attn_out="self_attn", resid_mid="post_attention_layernorm", mlp_out="mlp")

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `LlamaConfig` with grouped-query attention."""
        from transformers import LlamaConfig

        return [
            LlamaConfig(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                bos_token_id=None,
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Llama family."""
    register(Llama())
