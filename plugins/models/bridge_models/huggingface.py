"""Any causal language model of transformers: its layout is found by running it once and looking."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.errors import BridgeError, ModelError
from bridge.hookspecs import hookimpl
from bridge.models import (
    Layout,
    LoadedModel,
    Location,
    ModelAdapter,
    ModelInfo,
    Placement,
    Streams,
    TransformersAdapter,
    Weights,
)
from bridge_models.probed import find_blocks, fitting_lists
from bridge_models.residual import find_parts

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_TOKENS = 12


@final
class HuggingFace(TransformersAdapter):
    """Serves what no family of its own claims.

    The blocks are the outermost list of modules, as long as the model is deep, that each run once and turn the stream
    into the stream. The two modules whose outputs add up, with a block's input, to its output in every block are
    attention and MLP; where no two do, only `resid_pre` and `resid_post` are offered, or one part beside `resid_mid`.
    What sees later tokens is treated as an encoder, whatever its class is called.
    """

    name = "huggingface"
    fallback = True

    def claims(self, weights: Weights) -> bool:
        """Claim whatever names a model type."""
        return "model_type" in weights.config

    def describe(self, weights: Weights) -> ModelInfo:
        """Read width and depth, and whether the configuration is an encoder's.

        Raises:
            ModelError: If the configuration does not give them.
        """
        try:
            info = super().describe(weights)
            config = self._config(weights)
        except BridgeError:
            raise
        except Exception as error:  # configurations compute what they are asked for, and raise what they like
            raise ModelError(
                f"The configuration of {weights.source} does not say how wide and deep its text model is "
                f"({type(error).__name__}: {error}).",
                cause=f"A {weights.config.get('model_type')} is more than a text model, or counts in another way.",
                remedy="Write a model family plugin for it; it is a page of code (CONTRIBUTING.md).",
            ) from error
        # Where nothing limits a model, some configurations say -1.
        limit = info.max_tokens if info.max_tokens and info.max_tokens > 0 else None
        return dataclasses.replace(info, max_tokens=limit, causal=not _is_masked(config))

    def load(self, weights: Weights, placement: Placement) -> LoadedModel:
        """Load the model, find its sites, and test whether it is causal.

        Raises:
            ModelError: If it cannot be run, or has no blocks that are known for what they are.
        """
        try:
            model = super().load(weights, placement)
            model.causal = not _sees_ahead(model)
        except BridgeError:
            raise
        except Exception as error:  # a foreign architecture fails in its own way
            raise ModelError(
                f"{weights.source} cannot be run as a text model ({type(error).__name__}: {error}).",
                cause=f"The architecture {weights.config.get('model_type')} needs more than token ids and a mask.",
                remedy="Write a model family plugin for it; it is a page of code (CONTRIBUTING.md).",
            ) from error
        return model

    def layout(self, module: nn.Module) -> Layout:
        """Find the blocks and, by a forward pass, the sites in them.

        Raises:
            ModelError: If there is no list of blocks, or it passes on several streams.
        """
        import torch

        text = module.config.get_text_config()  # type: ignore[union-attr,operator]
        ids = _ids(module, _TOKENS)
        ids = torch.cat([ids, ids, ids.flip(1)])
        found = find_blocks(module, int(text.num_hidden_layers), int(text.hidden_size), ids)
        streams = Streams(*found.streams, _default(text)) if found.streams else None
        points = {"resid_pre": Location("", "input", streams), "resid_post": Location("", "output", streams)}
        if streams:
            return Layout(found.path, points)
        eps = max(torch.finfo(dtype).eps for dtype in _dtypes(module))
        return Layout(found.path, points | find_parts(found.blocks, eps))

    def outline(self, module: nn.Module) -> Layout:
        """Find the outermost list that is as long as the model is deep; which one it is, only a pass tells for sure.

        Raises:
            ModelError: If there is none.
        """
        depth = int(module.config.get_text_config().num_hidden_layers)  # type: ignore[union-attr,operator]
        return Layout(
            fitting_lists(module, depth)[0], {"resid_pre": Location("", "input"), "resid_post": Location("", "output")}
        )

    def tiny_configs(self) -> Sequence[Any]:
        """Return a tiny StarCoder2, an architecture that no first-party family claims."""
        from transformers import Starcoder2Config

        return [
            Starcoder2Config(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                bos_token_id=None,
                eos_token_id=1,
            )
        ]


def _default(config: Any) -> str:
    """Return which of several streams a point means.

    AltUp (Gemma 3n) has an active one, which attention and MLP of every block read and correct first, and which alone
    the model reads out without a projection: the others stand in bases of their own. The streams of hyper-connections
    (DeepSeek-V4) begin as copies of the embedding and are summed by weights that differ from token to token: none is
    before the others, and their mean is that sum with equal weights.
    """
    active = getattr(config, "altup_active_idx", None)
    return "mean" if active is None else f"stream{active}"


def _is_masked(config: Any) -> bool:
    """Tell whether transformers lists the type among masked models, and the configuration makes it no decoder."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    decoder = getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False)
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not decoder


def _sees_ahead(model: LoadedModel) -> bool:
    """Tell whether a later token changes an earlier prediction."""
    import torch

    ids = _ids(model.module, 8)
    half = ids.shape[1] // 2
    other = ids.clone()
    other[0, half:] = ids[0, 0]
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        one, two = (model.logits(some, mask)[0, :half].float() for some in (ids, other))
    # Rounding may differ where tokens are sorted to experts; what is seen ahead changes far more.
    share = 1e-5 if next(model.module.parameters()).dtype is torch.float32 else 3e-2
    return float((one - two).abs().max()) > share * float(one.abs().max())


def _dtypes(module: nn.Module) -> set[torch.dtype]:
    return {weight.dtype for weight in module.parameters() if weight.is_floating_point()}


def _ids(module: nn.Module, tokens: int) -> Tensor:
    """Return different token ids, spread over the vocabulary: (1, tokens) int64, fewer where the model reads fewer."""
    import torch

    config: Any = module.config
    known: Any = module  # to transformers: a torch module has no such method
    vocabulary = int(known.get_input_embeddings().num_embeddings)
    # Two less, because some tables of positions begin after the padding.
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    tokens = max(min(tokens, positions - 2), 2) if positions and positions > 0 else tokens
    # From a tenth on, because the first ids are special, and padding is a zero in some embeddings.
    ids = [vocabulary // 10 + index * vocabulary * 8 // 10 // tokens for index in range(tokens)]
    return torch.tensor([ids], device=next(module.parameters()).device)


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the generic adapter."""
    register(HuggingFace())
