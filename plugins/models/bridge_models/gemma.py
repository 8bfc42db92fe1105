"""Gemma 3, text-only and inside the multimodal wrapper of the 4B, 12B and 27B models."""

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


@final
class Gemma(TransformersAdapter):
    """`Gemma3ForCausalLM` and `Gemma3ForConditionalGeneration`.

    Attention and MLP have a norm before and a norm after them, so each adds the output of its second norm to the
    stream. Residual norms reach 1e5 and more: float16 overflows.
    """

    name = "gemma"
    model_types = ("gemma3", "gemma3_text")

    def aliases(self) -> Sequence[Alias]:
        """Return the instruction-tuned sizes; the sites of 12B and 27B (`gemma`) are those of their released AVs."""
        return [
            Alias("gemma", "google/gemma-3-27b-it", site="41", verbalizer=_released("27b-L41")),
            Alias("gemma3-27b", "google/gemma-3-27b-it"),
            Alias("gemma3-12b", "google/gemma-3-12b-it", site="32", verbalizer=_released("12b-L32")),
            Alias("gemma3-4b", "google/gemma-3-4b-it"),
            Alias("gemma3-1b", "google/gemma-3-1b-it"),
        ]

    def known_configs(self) -> Mapping[str, Path]:
        """Return the bundled configurations."""
        return bundled("google/gemma-3-27b-it", "google/gemma-3-12b-it", "google/gemma-3-270m")

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of the text decoder, inside the wrapper or alone."""
        wrapped = hasattr(module.get_submodule("model"), "language_model")
        return sequential(
            "model.language_model.layers" if wrapped else "model.layers",
            attn_out="post_attention_layernorm",
            resid_mid="pre_feedforward_layernorm",
            mlp_out="post_feedforward_layernorm",
        )

    def tiny_configs(self) -> Sequence[Any]:
        """Return a tiny text-only configuration with both attention kinds, and a tiny multimodal one around it."""
        from transformers import Gemma3Config, Gemma3TextConfig, SiglipVisionConfig

        text = {
            "vocab_size": 512,
            "hidden_size": 40,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        }
        vision = SiglipVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        )
        wrapper = Gemma3Config(
            text_config=dict(text), vision_config=vision, mm_tokens_per_image=4, image_token_index=511
        )
        return [Gemma3TextConfig(**text), wrapper]


def _released(which: str) -> str:
    """Name the verbalizer that kitft released for a model and layer."""
    return f"nla:checkpoint=hub:kitft/nla-gemma3-{which}-av,ar=hub:kitft/nla-gemma3-{which}-ar"


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Gemma family."""
    register(Gemma())
