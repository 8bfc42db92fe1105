"""Texts as padded batches for a live model, and the losses of their next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bridge.collect.batches import pad
from bridge.pairing.align import Encoded

if TYPE_CHECKING:
    from torch import Tensor

LOGITS_PER_LOSS = 2**25
"""Number of logits that are turned into losses at once, in float32."""


@final
@dataclass(frozen=True)
class Batch:
    """Padded texts, and the positions of their tokens.

    Attributes:
        ids: Token ids, (batch, tokens) int64.
        mask: 1 for tokens and 0 for padding, (batch, tokens) int64.
        row: Text of each token that stands for text, (kept,) int64.
        position: Its position in the text, (kept,) int64.
        document: Its document group, (kept,) int64.
        followed: Whether another token follows it, (kept,) bool.
    """

    ids: Tensor
    mask: Tensor
    row: Tensor
    position: Tensor
    document: NDArray[np.int64]
    followed: NDArray[np.bool_]


def batches(texts: Sequence[tuple[Encoded, int]], tokens: int) -> list[Batch]:
    """Cut texts into batches.

    Args:
        texts: Texts and their document groups, shortest first.
        tokens: Maximal number of tokens of a batch, padding included; a longer text is a batch of its own.
    """
    parts: list[list[tuple[Encoded, int]]] = []
    for text in texts:
        if parts and (len(parts[-1]) + 1) * len(text[0].ids) <= tokens:
            parts[-1].append(text)
        else:
            parts.append([text])
    return [_batch(part) for part in parts]


def next_token_losses(logits: Tensor, batch: Batch) -> NDArray[np.float64]:
    """Return the cross-entropy in nats of each token that follows a token of the text, (followed,) float64.

    Args:
        logits: Logits of the next token, (batch, tokens, vocabulary).
        batch: The batch of the logits.
    """
    import torch
    from torch.nn.functional import cross_entropy

    followed = torch.from_numpy(batch.followed)
    row, position = batch.row[followed], batch.position[followed]
    targets = batch.ids[row, position + 1].to(logits.device)
    row, position = row.to(logits.device), position.to(logits.device)
    # The logits of a large vocabulary already need much memory, so only a part at a time is copied to float32.
    size = max(1, LOGITS_PER_LOSS // logits.shape[-1])
    parts = [slice(start, start + size) for start in range(0, max(len(targets), 1), size)]
    losses = [
        cross_entropy(logits[row[part], position[part]].float(), targets[part], reduction="none").cpu()
        for part in parts
    ]
    found: NDArray[np.float64] = torch.cat(losses).double().numpy()
    return found


def _batch(texts: Sequence[tuple[Encoded, int]]) -> Batch:
    import torch

    kept = [encoded.kept for encoded, _ in texts]
    counts = [len(positions) for positions in kept]
    followed = [positions < len(encoded.ids) - 1 for positions, (encoded, _) in zip(kept, texts, strict=True)]
    return Batch(
        *pad([encoded.ids for encoded, _ in texts]),
        torch.from_numpy(np.repeat(np.arange(len(texts)), counts)),
        torch.from_numpy(np.concatenate(kept)),
        np.repeat([document for _, document in texts], counts),
        np.concatenate(followed),
    )
