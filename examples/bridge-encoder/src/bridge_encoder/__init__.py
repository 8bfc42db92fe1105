"""Encoders: transformers that read a text both ways and predict no next token, as most sentence encoders are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, Layout, Location, ModelAdapter, ModelInfo, TransformersAdapter, Weights

if TYPE_CHECKING:
    from torch import nn

bridge_api = "1.1"


@final
class Encoder(TransformersAdapter):
    """`BertModel` and `MPNetModel`: post-norm blocks under `encoder.layer`.

    Attention and MLP are added to the stream *before* it is normed, so no module's output is what a part adds to it:
    there are `resid_pre`, `resid_mid` and `resid_post`, each the normed stream, but neither `attn_out` nor `mlp_out`.
    """

    name = "encoder"
    model_types = ("bert", "mpnet")
    causal = False

    def aliases(self) -> Sequence[Alias]:
        """Return the two best known sentence encoders; their last block is what they pool."""
        names = {"all-MiniLM-L6-v2": "5", "all-mpnet-base-v2": "11"}
        return [Alias(name, f"sentence-transformers/{name}", last) for name, last in names.items()]

    def describe(self, weights: Weights) -> ModelInfo:
        """Read the sizes; MPNet's first position is 2, so it reads two tokens fewer than it has positions."""
        info = super().describe(weights)
        if weights.config["model_type"] == "mpnet" and info.max_tokens:
            return replace(info, max_tokens=info.max_tokens - 2)
        return info

    def layout(self, module: nn.Module) -> Layout:
        """Sites of a post-norm encoder."""
        points = {
            "resid_pre": Location("", "input"),
            "resid_mid": Location("intermediate", "input"),
            "resid_post": Location("", "output"),
        }
        return Layout("encoder.layer", points)

    def tiny_configs(self) -> Sequence[Any]:
        """Return one tiny configuration of each class."""
        from transformers import BertConfig, MPNetConfig

        sizes = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
        return [kind(**sizes, num_hidden_layers=3, max_position_embeddings=130) for kind in (BertConfig, MPNetConfig)]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the encoders."""
    register(Encoder())
