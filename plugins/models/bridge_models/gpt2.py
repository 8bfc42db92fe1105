"""GPT-2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter
from bridge.models.layout import sequential

if TYPE_CHECKING:
    from torch import nn


@final
class GPT2(TransformersAdapter):
    """`GPT2LMHeadModel`: learned positions, LayerNorm, blocks under `transformer.h`."""

    name = "gpt2"
    model_types = ("gpt2",)

    def aliases(self) -> Sequence[Alias]:
        """Return the four sizes."""
        return [
            Alias("gpt2", "openai-community/gpt2"),
            *(Alias(f"gpt2-{size}", f"openai-community/gpt2-{size}") for size in ("medium", "large", "xl")),
        ]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a GPT-2 decoder."""
        return sequential("transformer.h", attn_out="attn", resid_mid="ln_2", mlp_out="mlp")

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `GPT2Config`."""
        from transformers import GPT2Config

        return [
            GPT2Config(
                vocab_size=512, n_embd=32, n_layer=3, n_head=4, n_positions=128, bos_token_id=None, eos_token_id=1
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the GPT-2 family."""
    register(GPT2())
