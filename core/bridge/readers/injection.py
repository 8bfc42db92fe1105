"""Injection of vectors: scaling, and replacing or adding to embeddings or the output of a block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ModelError
from bridge.readers.body import BLOCKS, decoder
from bridge.readers.reader import Injection

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]


def scaled(vectors: Floats, scale: float | None) -> Floats:
    """Scale vectors to a length.

    Args:
        vectors: (..., d) float32, none of them zero.
        scale: The length; None to return the vectors unchanged.
    """
    if scale is None:
        return vectors
    # In float64 the square of a float32 neither overflows nor underflows.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors * (scale / lengths), np.float32)


def whitened(vectors: Floats, injection: Injection) -> Floats:
    """Whiten vectors, (..., d) float32, if the reader was trained on whitened vectors."""
    if injection.whitening is None:
        return vectors
    return np.asarray((vectors - injection.whitening.mean) / injection.whitening.scale, np.float32)


def lengthened(vectors: Floats, injection: Injection) -> Floats:
    """Scale vectors, (..., d) float32, as far as this needs no hidden states: `inject` applies the length `place`."""
    if injection.length == "raw":
        return vectors if injection.times == 1 else np.asarray(vectors * np.float32(injection.times))
    known = {"sqrt_d": math.sqrt(vectors.shape[-1]), "place": 1.0}
    length = known[injection.length] if isinstance(injection.length, str) else injection.length
    return scaled(vectors, length * injection.times)


def inject(hidden: Tensor, rows: Tensor, places: Sequence[int], injection: Injection) -> Tensor:
    """Return hidden states with injected vectors.

    Args:
        hidden: Hidden states, (batch, tokens, d), in the model's dtype.
        rows: Vectors that `lengthened` returned, (batch, positions, d) float32.
        places: Positions of the vectors in `hidden`.
        injection: How the vectors are injected.

    Source of the rule h + |h| v/|v|: Karvonen et al., "Activation Oracles" (2025), arXiv 2512.15674.
    """
    rows, at = rows.to(hidden.device), list(places)
    if injection.length == "place":
        # In float32: a bfloat16 sum of thousands of squares has an error of a percent.
        rows = rows * hidden[:, at].float().norm(dim=-1, keepdim=True)
    changed = hidden.clone()
    if injection.how == "add":
        changed[:, at] = (hidden[:, at].float() + rows).to(hidden.dtype)
    else:
        changed[:, at] = rows.to(hidden.dtype)
    return changed


def block_of(module: Any, block: int) -> Any:
    """Return a block of a causal language model of transformers.

    Raises:
        ModelError: If there is no such block, or the attribute of the blocks is unknown.
    """
    body = decoder(module)
    blocks = next((getattr(body, name) for name in BLOCKS if hasattr(body, name)), None)
    if blocks is None:
        raise ModelError(f"{type(body).__name__} has no attribute {' or '.join(BLOCKS)} for its blocks.")
    if not 0 <= block < len(blocks):
        raise ModelError(
            f"Vectors are injected into the output of block {block}; the model has {len(blocks)} blocks.",
            cause="The reader belongs to another base model.",
        )
    return blocks[block]


@contextmanager
def injecting(module: Any, rows: Tensor, places: Sequence[int], injection: Injection) -> Iterator[None]:
    """Inject vectors into the output of a block in every forward pass within this context.

    Args:
        module: A causal language model of transformers.
        rows: As for `inject`.
        places: Positions of the vectors in the input of the forward pass.
        injection: The block, and how the vectors are injected.

    Raises:
        ModelError: If the model has no such block.
    """

    def change(block: Any, given: Any, out: Any) -> Any:
        """Return the block's output with the vectors."""
        if isinstance(out, tuple):
            return (inject(out[0], rows, places, injection), *out[1:])
        return inject(out, rows, places, injection)

    assert injection.block is not None
    handle = block_of(module, injection.block).register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()
