"""GPT-Neo, and the TinyStories models, which share its architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter
from bridge.models.layout import sequential

if TYPE_CHECKING:
    from torch import nn


@final
class GPTNeo(TransformersAdapter):
    """`GPTNeoForCausalLM`: GPT-2's blocks, but every second block attends to the last 256 tokens only."""

    name = "gpt_neo"
    model_types = ("gpt_neo",)

    def aliases(self) -> Sequence[Alias]:
        """Return EleutherAI's three sizes and the TinyStories models."""
        return [
            *(Alias(f"gpt-neo-{size.lower()}", f"EleutherAI/gpt-neo-{size}") for size in ("125m", "1.3B", "2.7B")),
            *(
                Alias(f"tinystories-{size.lower()}", f"roneneldan/TinyStories-{size}")
                for size in ("1M", "3M", "8M", "28M", "33M")
            ),
        ]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a GPT-Neo decoder."""
        return sequential("transformer.h", attn_out="attn", resid_mid="ln_2", mlp_out="mlp")

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `GPTNeoConfig` with both attention kinds."""
        from transformers import GPTNeoConfig

        return [
            GPTNeoConfig(
                vocab_size=512,
                hidden_size=32,
                num_layers=3,
                num_heads=4,
                attention_types=[[["global", "local"], 1], [["global"], 1]],
                window_size=8,
                max_position_embeddings=128,
                bos_token_id=None,
                eos_token_id=1,
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the GPT-Neo family."""
    register(GPTNeo())
