"""OLMo 3, and OLMo Hybrid, which has linear attention in three blocks of four."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter, mixed, sequential

if TYPE_CHECKING:
    from torch import nn


@final
class Olmo3(TransformersAdapter):
    """`Olmo3ForCausalLM` and `OlmoHybridForCausalLM`; training checkpoints are hub revisions of the variants `base`.

    Blocks with full or sliding attention are as in OLMo 2: parts read the stream, and their outputs are normed. Blocks
    with linear attention are as in Llama: parts read a norm of the stream, and their outputs are added without a norm.
    """

    name = "olmo3"
    model_types = ("olmo3", "olmo_hybrid")

    def aliases(self) -> Sequence[Alias]:
        """Return the sizes, each with its other variants and its base model as variant `base`."""
        return ALIASES

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of blocks that have their norms after or before the parts."""
        blocks = "model.layers"
        after = sequential(
            blocks, attn_out="post_attention_layernorm", resid_mid="mlp", mlp_out="post_feedforward_layernorm"
        )
        before = sequential(blocks, attn_out="linear_attn", resid_mid="post_attention_layernorm", mlp_out="mlp")
        return mixed(
            [before if hasattr(block, "linear_attn") else after for block in module.get_submodule(blocks).children()]
        )

    def tiny_configs(self) -> Sequence[Any]:
        """Return a tiny `Olmo3Config` and a tiny `OlmoHybridConfig`, each with both kinds of attention."""
        from transformers import Olmo3Config, OlmoHybridConfig

        common = {
            "vocab_size": 512,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 1,
        }
        return [
            Olmo3Config(**common, sliding_window=8),
            OlmoHybridConfig(**common, linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8),
        ]


ALIASES: Sequence[Alias] = (
    Alias(
        "olmo3-7b",
        "allenai/Olmo-3-7B-Instruct",
        variants={"base": "allenai/Olmo-3-1025-7B", "think": "allenai/Olmo-3-7B-Think"},
    ),
    Alias("olmo3-32b", "allenai/Olmo-3-32B-Think", variants={"base": "allenai/Olmo-3-1125-32B"}),
    Alias("olmo3.1-32b", "allenai/Olmo-3.1-32B-Instruct", variants={"think": "allenai/Olmo-3.1-32B-Think"}),
    Alias("olmo-hybrid-7b", "allenai/Olmo-Hybrid-Instruct-DPO-7B", variants={"base": "allenai/Olmo-Hybrid-7B"}),
)
"""The instruction-tuned models; the thinking model if a size has no instruction-tuned model."""


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the OLMo 3 family."""
    register(Olmo3())
