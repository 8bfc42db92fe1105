"""Mistral's dense text models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter, Weights
from bridge.models.layout import sequential

if TYPE_CHECKING:
    from torch import nn

TEKKEN = 131_072
"""Vocabulary size of Mistral's models since Nemo."""


@final
class Mistral(TransformersAdapter):
    """`MistralForCausalLM`: Llama's blocks; the first release attends to the last 4,096 tokens only."""

    name = "mistral"
    model_types = ("mistral",)

    def aliases(self) -> Sequence[Alias]:
        """Return the instruction-tuned models, each with its base model as variant `base`."""
        models = {
            "mistral-7b": ("Mistral-7B-Instruct-v0.3", "Mistral-7B-v0.3"),
            "mistral-7b-v0.1": ("Mistral-7B-Instruct-v0.1", "Mistral-7B-v0.1"),
            "mistral-nemo": ("Mistral-Nemo-Instruct-2407", "Mistral-Nemo-Base-2407"),
            "mistral-small": ("Mistral-Small-24B-Instruct-2501", "Mistral-Small-24B-Base-2501"),
        }
        return [
            Alias(name, f"mistralai/{tuned}", variants={"base": f"mistralai/{base}"})
            for name, (tuned, base) in models.items()
        ]

    def tokenizer_options(self, weights: Weights) -> Mapping[str, Any]:
        """Use `tokenizer.json`, with the word pattern of Mistral's own tokenizer (Tekken, in Nemo and Small).

        If `mistral-common` is installed, transformers would use its tokenizer, which does not report where tokens end.
        Files written before transformers 5 have a wrong pattern, which transformers corrects on request.
        """
        return {"mistral_format": False, "fix_mistral_regex": weights.config.get("vocab_size") == TEKKEN}

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a Mistral decoder."""
        return sequential("model.layers", attn_out="self_attn", resid_mid="post_attention_layernorm", mlp_out="mlp")

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `MistralConfig` whose attention window is shorter than the test texts."""
        from transformers import MistralConfig

        return [
            MistralConfig(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                sliding_window=8,
                bos_token_id=0,
                eos_token_id=1,
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Mistral family."""
    register(Mistral())
