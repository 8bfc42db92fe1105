"""Phi: the parallel blocks of phi-1 to phi-2, and the sequential ones of Phi-3 and phi-4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter
from bridge.models.layout import parallel, sequential

if TYPE_CHECKING:
    from torch import nn


@final
class Phi(TransformersAdapter):
    """`PhiForCausalLM`, whose attention and MLP read the same norm; `Phi3ForCausalLM`, whose blocks are as in Llama.

    The parts' outputs are read before their dropout, which is inactive in inference.
    """

    name = "phi"
    model_types = ("phi", "phi3")

    def aliases(self) -> Sequence[Alias]:
        """Return the models of these two architectures, without mixtures of experts and models for images or audio."""
        models = {
            "phi-1": "phi-1",
            "phi-1.5": "phi-1_5",
            "phi-2": "phi-2",
            "phi-3-mini": "Phi-3-mini-4k-instruct",
            "phi-3-medium": "Phi-3-medium-4k-instruct",
            "phi-3.5-mini": "Phi-3.5-mini-instruct",
            "phi-4": "phi-4",
            "phi-4-mini": "Phi-4-mini-instruct",
        }
        return [Alias(name, f"microsoft/{model}") for name, model in models.items()]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a decoder of either architecture."""
        blocks = "model.layers"
        config: Any = module.config
        if config.model_type == "phi":
            return parallel(blocks, attn_out="self_attn", mlp_out="mlp")
        return sequential(blocks, attn_out="self_attn", resid_mid="post_attention_layernorm", mlp_out="mlp")

    def tiny_configs(self) -> Sequence[Any]:
        """Return a tiny `PhiConfig` and a tiny `Phi3Config`."""
        from transformers import Phi3Config, PhiConfig

        tiny: dict[str, Any] = {
            "vocab_size": 512,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 1,
        }
        return [PhiConfig(**tiny), Phi3Config(**tiny, num_key_value_heads=2)]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Phi family."""
    register(Phi())
