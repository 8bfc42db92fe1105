"""Vectors on their way in: given their length, and put in place of embeddings or into the output of a block."""

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
    """Give vectors a length: (..., d) float32, none of zeros.

    Args:
        vectors: (..., d) float32.
        scale: The length, or None to leave theirs.
    """
    if scale is None:
        return vectors
    # In float64, where the square of no float32 overflows or vanishes.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors * (scale / lengths), np.float32)


def whitened(vectors: Floats, injection: Injection) -> Floats:
    """Whiten vectors, (..., d) float32, where the reader was trained on whitened ones."""
    if injection.whitening is None:
        return vectors
    return np.asarray((vectors - injection.whitening.mean) / injection.whitening.scale, np.float32)


def lengthened(vectors: Floats, injection: Injection) -> Floats:
    """Give vectors, (..., d) float32, their length as far as the vectors alone tell it: that of a place comes later."""
    if injection.length == "raw":
        return vectors if injection.times == 1 else np.asarray(vectors * np.float32(injection.times))
    known = {"sqrt_d": math.sqrt(vectors.shape[-1]), "place": 1.0}
    length = known[injection.length] if isinstance(injection.length, str) else injection.length
    return scaled(vectors, length * injection.times)


def inject(hidden: Tensor, rows: Tensor, places: Sequence[int], injection: Injection) -> Tensor:
    """Return hidden states with vectors in their places.

    Args:
        hidden: (batch, tokens, d), in the model's dtype.
        rows: Vectors of the lengths that `lengthened` gives, (batch, places, d) float32.
        places: Positions in `hidden`.
        injection: How they go in.

    Source of the rule h + |h| v/|v|: Karvonen et al., "Activation Oracles" (2025), arXiv 2512.15674.
    """
    rows, at = rows.to(hidden.device), list(places)
    if injection.length == "place":
        # In float32: bfloat16 sums of thousands of squares are wrong by a percent.
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
        ModelError: If it has no such block, or its blocks have no known name.
    """
    body = decoder(module)
    blocks = next((getattr(body, name) for name in BLOCKS if hasattr(body, name)), None)
    if blocks is None:
        raise ModelError(f"{type(body).__name__} has no blocks called {' or '.join(BLOCKS)}.")
    if not 0 <= block < len(blocks):
        raise ModelError(
            f"The reader puts vectors into the output of block {block}; its model has {len(blocks)} blocks.",
            cause="Its base model is another one.",
        )
    return blocks[block]


@contextmanager
def injecting(module: Any, rows: Tensor, places: Sequence[int], injection: Injection) -> Iterator[None]:
    """Put vectors into the output of a block, in every forward pass while this is open.

    Args:
        module: A causal language model of transformers.
        rows: As for `inject`.
        places: Positions in what the forward pass reads.
        injection: Which block, and how.

    Raises:
        ModelError: If the model has no such block.
    """

    def change(block: Any, given: Any, out: Any) -> Any:
        """Return the block's output, changed."""
        if isinstance(out, tuple):
            return (inject(out[0], rows, places, injection), *out[1:])
        return inject(out, rows, places, injection)

    assert injection.block is not None
    handle = block_of(module, injection.block).register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()
