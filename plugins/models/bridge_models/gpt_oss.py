"""gpt-oss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter, Weights, sequential

if TYPE_CHECKING:
    from torch import nn


@final
class GptOss(TransformersAdapter):
    """`GptOssForCausalLM`: mixtures of experts, attention with sinks, every second block over 128 tokens only.

    Released experts are MXFP4. They are unpacked on loading, on every machine: with a GPU and the package `kernels`,
    transformers would compute with packed experts, and activations would depend on the machine.
    """

    name = "gpt_oss"
    model_types = ("gpt_oss",)

    def aliases(self) -> Sequence[Alias]:
        """Return both sizes, each with the variant `safeguard`, which classifies by a policy."""
        return [
            Alias(
                f"gpt-oss-{size}", f"openai/gpt-oss-{size}", variants={"safeguard": f"openai/gpt-oss-safeguard-{size}"}
            )
            for size in ("20b", "120b")
        ]

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites of a gpt-oss decoder."""
        return sequential("model.layers", attn_out="self_attn", resid_mid="post_attention_layernorm", mlp_out="mlp")

    def load_options(self, weights: Weights) -> Mapping[str, Any]:
        """Request unpacked experts."""
        if weights.config.get("quantization_config", {}).get("quant_method") != "mxfp4":
            return {}
        from transformers import Mxfp4Config

        return {"quantization_config": Mxfp4Config(dequantize=True)}

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny `GptOssConfig` with both kinds of attention."""
        from transformers import GptOssConfig

        return [
            GptOssConfig(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=8,
                num_local_experts=4,
                num_experts_per_tok=2,
                sliding_window=8,
                bos_token_id=None,
                eos_token_id=1,
                pad_token_id=1,
            )
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the gpt-oss family."""
    register(GptOss())
