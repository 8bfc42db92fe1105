"""Contrastive decoding: what a vector makes likelier than its background alone does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PLAUSIBLE = 0.05
"""Share of the best token's probability that a token must have where something is taken away."""


def contrast_scores(logits: Tensor, blends: int, beta: float) -> Tensor:
    """Return the score of every token: mean log-probability over the blends, minus beta times the backgrounds' mean.

    Where something is taken away, tokens that the blends themselves find implausible are left out: without the cut, a
    token that nothing expects would win for being expected even less by the backgrounds.

    Args:
        logits: Of a direction's blends, then of the backgrounds alone if beta is not 0, (n, streams, vocabulary).
        blends: How many of the streams are blends.
        beta: How much is taken away.

    Returns:
        (n, vocabulary) float32.

    Source: Li et al., "Contrastive Decoding" (2023), arXiv 2210.15097, for the plausibility constraint; the contrast is
    between two models there, and between two inputs of one here.
    """
    probabilities = logits.float().log_softmax(-1)
    blended = probabilities[:, :blends].mean(1)
    if not beta:
        return blended
    scores = blended - beta * probabilities[:, blends:].mean(1)
    return scores.masked_fill(blended < blended.amax(1, keepdim=True) + math.log(PLAUSIBLE), -math.inf)
