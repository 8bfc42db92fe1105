"""Pythia: GPT-NeoX models in many sizes, each with independent seeds and with checkpoints along its training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, ModelAdapter, TransformersAdapter
from bridge.models.layout import parallel, sequential

if TYPE_CHECKING:
    from torch import nn

_SIZES = ("14m", "31m", "70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b")
_SIZES_WITH_SEEDS = ("14m", "31m", "70m", "160m", "410m")  # PolyPythias, arXiv 2503.09543


@final
class Pythia(TransformersAdapter):
    """`GPTNeoXForCausalLM`; training checkpoints are hub revisions: `pythia-70m:seed3@3#step143000`."""

    name = "pythia"
    model_types = ("gpt_neox",)

    def aliases(self) -> Sequence[Alias]:
        """Return every size with its deduplicated variant; the small sizes also have seeds 1 to 9."""
        aliases = []
        for size in _SIZES:
            model = f"EleutherAI/pythia-{size}"
            seeds = range(1, 10) if size in _SIZES_WITH_SEEDS else ()
            variants = {f"seed{seed}": f"{model}-seed{seed}" for seed in seeds} | {"deduped": f"{model}-deduped"}
            aliases.append(Alias(f"pythia-{size}", model, variants=variants))
        return aliases

    def layout(self, module: nn.Module) -> Layout:
        """Return the sites; attention and MLP read the same input unless the configuration has sequential residuals."""
        blocks = "gpt_neox.layers"
        if getattr(module.config, "use_parallel_residual", True):
            return parallel(blocks, attn_out="attention", mlp_out="mlp")
        return sequential(blocks, attn_out="attention", resid_mid="post_attention_layernorm", mlp_out="mlp")

    def tiny_configs(self) -> Sequence[Any]:
        """Return two tiny `GPTNeoXConfig`s, one with parallel and one with sequential residuals."""
        from transformers import GPTNeoXConfig

        return [
            GPTNeoXConfig(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                max_position_embeddings=128,
                use_parallel_residual=parallel_residual,
                bos_token_id=None,
            )
            for parallel_residual in (True, False)
        ]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the Pythia family."""
    register(Pythia())
