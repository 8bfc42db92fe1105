"""Numbers that identify a loaded model: its outputs for eight fixed tokens, and its residual sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import ModelError
from bridge.models.loaded import LoadedModel
from bridge.references import Site

if TYPE_CHECKING:
    from torch import Tensor

TOKENS = (3, 1, 4, 1, 5, 9, 2, 6)
"""Small ids, which every vocabulary has; a vocabulary of fewer than ten ids uses them modulo its size."""

KEPT = 64
"""Numbers kept of each token, spread evenly over the vocabulary or the width."""

ROUNDING = {"float32": 1e-3, "bfloat16": 0.06}
"""Largest difference from rounding, relative to the largest number: threads and kernels change the order of sums."""


def fingerprint(model: LoadedModel) -> Tensor:
    """Return some of the logits of eight fixed tokens; of an encoder, of the last block's output.

    Args:
        model: Any model.

    Returns:
        (tokens, `KEPT` + 2) float32: the chosen numbers, then the mean and the root mean square of all of them.

    Raises:
        ModelError: If a number is NaN or infinite.
    """
    import torch

    ids, mask = _batch(model)
    if model.causal:
        out = model.logits(ids, mask)
    else:
        (out,) = model.activations(ids, mask, [Site(model.n_layers - 1)])
    rows = out[0].float().cpu()
    if not bool(torch.isfinite(rows).all()):
        raise ModelError(
            f"{model.name} gives NaN or infinite numbers for eight plain tokens.",
            cause="The weights are damaged, or overflow the dtype.",
            remedy="Try --dtype float32; compare the files' checksums with those of their source.",
        )
    chosen = torch.linspace(0, rows.shape[1] - 1, min(KEPT, rows.shape[1])).long()
    return torch.cat([rows[:, chosen], rows.mean(1, keepdim=True), rows.square().mean(1, keepdim=True).sqrt()], dim=1)


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference of two fingerprints, relative to the largest number; infinite if shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    scale = max(float(expected.abs().max()), 1e-30)
    return float((found - expected).abs().max()) / scale


def check_residual_sums(model: LoadedModel, dtype: str) -> None:
    """Check the first and the last block for `resid_pre + attn_out + mlp_out = resid_post` on the fixed tokens.

    Args:
        model: Any model; models whose family names no parts of a block are not checked.
        dtype: Dtype of the model's computation.

    Raises:
        ModelError: If the sum does not hold: a point does not match its name.
    """
    points = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    if not set(points) <= set(model.layout.points):
        return
    ids, mask = _batch(model)
    for layer in sorted({0, model.n_layers - 1}):
        sites = [Site(layer, point) for point in points]
        before, attention, mlp, after = (one.float() for one in model.activations(ids, mask, sites))
        scale = max(float(one.abs().max()) for one in (before, attention, mlp, after))
        off = float((before + attention + mlp - after).abs().max()) / max(scale, 1e-30)
        if not off <= ROUNDING[dtype]:
            raise ModelError(
                f"In block {layer} of {model.name}, resid_pre + attn_out + mlp_out is not resid_post: they differ by "
                f"{off:.2g} of the largest number.",
                cause="The model family's adapter takes another module for attention or MLP.",
                remedy="Use a family plugin that knows this architecture; `bridge plugins check FAMILY --model REF` "
                "says which law is broken.",
            )


def _batch(model: LoadedModel) -> tuple[Tensor, Tensor]:
    import torch

    size = _vocabulary(model)
    ids = torch.tensor([[token % size for token in TOKENS[: model.max_tokens]]], dtype=torch.int64)
    return ids, torch.ones_like(ids)


def _vocabulary(model: LoadedModel) -> int:
    """Return a number of ids that the model has for certain."""
    import torch

    embeddings = getattr(model.module, "get_input_embeddings", None)
    if embeddings is not None and hasattr(found := embeddings(), "num_embeddings"):
        return int(found.num_embeddings)
    if not model.causal:
        return 1
    one = torch.zeros((1, 1), dtype=torch.int64)
    return int(model.logits(one, torch.ones_like(one)).shape[-1])
