"""Qwen2 and Qwen2.5."""

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


RELEASED = "nla:checkpoint=hub:kitft/nla-qwen2.5-7b-L20-av,ar=hub:kitft/nla-qwen2.5-7b-L20-ar"
"""The verbalizer that kitft released for the 7B model at block 20."""


@final
class Qwen(TransformersAdapter):
    """`Qwen2ForCausalLM`; its tokenizer adds no BOS."""

    name = "qwen"
    model_types = ("qwen2",)

    def aliases(self) -> Sequence[Alias]:
        """Return every size of Qwen2.5; `qwen` is the 7B model at the site of its released AV."""
        sizes = ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B")
        return [
            Alias("qwen", "Qwen/Qwen2.5-7B-Instruct", site="20", verbalizer=RELEASED),
            *(Alias(f"qwen2.5-{size.lower()}", f"Qwen/Qwen2.5-{size}-Instruct") for size in sizes),
        ]

    def known_configs(self) -> Mapping[str, Path]:
        """Return the bundled configurations."""
        return bundled("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct")

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a Qwen2 decoder."""
        return sequential("model.layers", attn_out="self_attn", resid_mid="post_attention_layernorm", mlp_out="mlp")

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `Qwen2Config`."""
        from transformers import Qwen2Config

        return [
            Qwen2Config(
                vocab_size=512,
                hidden_size=48,
                intermediate_size=96,
                num_hidden_layers=4,
                num_attention_heads=4,
                num_key_value_heads=2,
                bos_token_id=None,
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Qwen family."""
    register(Qwen())
