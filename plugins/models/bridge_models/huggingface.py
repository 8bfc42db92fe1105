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
    """Supports models that no other family claims.

    The blocks are the outermost module list with one entry per block, in which each module runs once and maps the
    stream to the stream. Attention and MLP are the two modules whose outputs, added to a block's input, give its output
    in every block. If no two modules do, only `resid_pre` and `resid_post` are available, or one part and `resid_mid`.
    A model whose predictions depend on later tokens is treated as an encoder, whatever its class.
    """

    name = "huggingface"
    fallback = True

    def claims(self, weights: Weights) -> bool:
        """Claim every checkpoint with a model type."""
        return "model_type" in weights.config

    def describe(self, weights: Weights) -> ModelInfo:
        """Read width and depth, and whether the configuration belongs to an encoder.

        Raises:
            ModelError: If the configuration has no width or depth.
        """
        try:
            info = super().describe(weights)
            config = self._config(weights)
        except BridgeError:
            raise
        except Exception as error:  # properties of configurations may raise any error
            raise ModelError(
                f"The configuration of {weights.source} does not say how wide and deep its text model is "
                f"({type(error).__name__}: {error}).",
                cause=f"A {weights.config.get('model_type')} is more than a text model, or counts in another way.",
                remedy="Write a model family plugin for it; it is a page of code (CONTRIBUTING.md).",
            ) from error
        # Some configurations use -1 for no limit.
        limit = info.max_tokens if info.max_tokens and info.max_tokens > 0 else None
        return dataclasses.replace(info, max_tokens=limit, causal=not _is_masked(config))

    def load(self, weights: Weights, placement: Placement) -> LoadedModel:
        """Load the model, find its sites, and test whether it is causal.

        Raises:
            ModelError: If the model cannot be run, or its blocks cannot be found.
        """
        try:
            model = super().load(weights, placement)
            model.causal = not _sees_ahead(model)
        except BridgeError:
            raise
        except Exception as error:  # an unknown architecture may raise any error
            raise ModelError(
                f"{weights.source} cannot be run as a text model ({type(error).__name__}: {error}).",
                cause=f"The architecture {weights.config.get('model_type')} needs more than token ids and a mask.",
                remedy="Write a model family plugin for it; it is a page of code (CONTRIBUTING.md).",
            ) from error
        return model

    def layout(self, module: nn.Module) -> Layout:
        """Find the blocks and, with a forward pass, the sites in them.

        Raises:
            ModelError: If there is no list of blocks, or the blocks have several streams.
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
        """Find the outermost module list with one entry per block; only a forward pass can confirm it.

        Raises:
            ModelError: If there is no such list.
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
    """Return which of several streams a point refers to.

    AltUp (Gemma 3n) has one active stream. Attention and MLP of every block read and correct it first, and it is the
    only stream that the output uses without a projection; the others have different bases. The streams of
    hyper-connections (DeepSeek-V4) start as copies of the embedding and are summed with weights that depend on the
    token: no stream has priority, so their mean is used, the sum with equal weights.
    """
    active = getattr(config, "altup_active_idx", None)
    return "mean" if active is None else f"stream{active}"


def _is_masked(config: Any) -> bool:
    """Tell whether transformers lists the type as a masked model, and the configuration does not make it a decoder."""
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
    # Rounding may differ if tokens are sorted by expert; attention to later tokens changes far more.
    share = 1e-5 if next(model.module.parameters()).dtype is torch.float32 else 3e-2
    return float((one - two).abs().max()) > share * float(one.abs().max())


def _dtypes(module: nn.Module) -> set[torch.dtype]:
    return {weight.dtype for weight in module.parameters() if weight.is_floating_point()}


def _ids(module: nn.Module, tokens: int) -> Tensor:
    """Return distinct token ids, spread over the vocabulary: (1, tokens) int64, fewer if the model's limit is lower."""
    import torch

    config: Any = module.config
    known: Any = module  # typed as Any: torch's Module does not declare this method
    vocabulary = int(known.get_input_embeddings().num_embeddings)
    # Two fewer, because some position tables start after the padding index.
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    tokens = max(min(tokens, positions - 2), 2) if positions and positions > 0 else tokens
    # Start at a tenth of the vocabulary: the first ids are special, and the padding embedding is zero in some models.
    ids = [vocabulary // 10 + index * vocabulary * 8 // 10 // tokens for index in range(tokens)]
    return torch.tensor([ids], device=next(module.parameters()).device)


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the generic adapter."""
    register(HuggingFace())
