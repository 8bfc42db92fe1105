"""OLMo 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter
from bridge.models.layout import sequential

if TYPE_CHECKING:
    from torch import nn


@final
class Olmo2(TransformersAdapter):
    """`Olmo2ForCausalLM`; training checkpoints are hub revisions of the variants `base`.

    Attention and MLP read the stream without a norm, and their outputs are normed before they are added. `resid_mid` is
    the MLP's input. `post_attention_layernorm` is the norm of attention's output, not of the MLP's input as in Llama.
    """

    name = "olmo2"
    model_types = ("olmo2",)

    def aliases(self) -> Sequence[Alias]:
        """Return every size, each with its base model as variant `base`."""
        models = {"1b": "OLMo-2-0425-1B", "7b": "OLMo-2-1124-7B", "13b": "OLMo-2-1124-13B", "32b": "OLMo-2-0325-32B"}
        return [
            Alias(f"olmo2-{size}", f"allenai/{base}-Instruct", variants={"base": f"allenai/{base}"})
            for size, base in models.items()
        ]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of an OLMo-2 decoder."""
        return sequential(
            "model.layers",
            attn_out="post_attention_layernorm",
            resid_mid="mlp",
            mlp_out="post_feedforward_layernorm",
        )

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `Olmo2Config`."""
        from transformers import Olmo2Config

        return [
            Olmo2Config(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                eos_token_id=1,
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the OLMo 2 family."""
    register(Olmo2())
