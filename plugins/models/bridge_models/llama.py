"""Llama, 1 to 3.3, and the models that share its architecture, SmolLM2 among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter
from bridge.models.layout import sequential
from bridge_models.configs import bundled

if TYPE_CHECKING:
    from torch import nn


RELEASED = "nla:checkpoint=hub:kitft/Llama-3.3-70B-NLA-L53-av,ar=hub:kitft/Llama-3.3-70B-NLA-L53-ar"
"""The verbalizer that kitft released for the 70B model at block 53."""


@final
class Llama(TransformersAdapter):
    """`LlamaForCausalLM`: pre-norm blocks, attention first, then the MLP."""

    name = "llama"
    model_types = ("llama",)

    def aliases(self) -> Sequence[Alias]:
        """Return Llama 3 to 3.3; `llama` is the 70B model at the site of its released AV."""
        models = {
            "3-8b": "Meta-Llama-3-8B",
            "3-70b": "Meta-Llama-3-70B",
            "3.1-8b": "Llama-3.1-8B",
            "3.1-70b": "Llama-3.1-70B",
            "3.2-1b": "Llama-3.2-1B",
            "3.2-3b": "Llama-3.2-3B",
        }
        return [
            Alias("llama", "meta-llama/Llama-3.3-70B-Instruct", site="53", verbalizer=RELEASED),
            Alias("llama3.3-70b", "meta-llama/Llama-3.3-70B-Instruct"),
            *(
                Alias(f"llama{size}", f"meta-llama/{name}-Instruct", variants={"base": f"meta-llama/{name}"})
                for size, name in models.items()
            ),
        ]

    def known_configs(self) -> Mapping[str, Path]:
        """Return the bundled configurations."""
        return bundled(
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "meta-llama/Llama-3.1-8B-Instruct",
            "meta-llama/Llama-3.3-70B-Instruct",
        )

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a Llama decoder."""
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
