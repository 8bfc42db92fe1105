"""Contrastive decoding: tokens that a vector makes likelier than its background alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PLAUSIBLE = 0.05
"""Share of the best token's probability that a token must have if backgrounds are subtracted."""


def contrast_scores(logits: Tensor, blends: int, beta: float) -> Tensor:
    """Return the score of every token: mean log-probability over the blends, minus beta times the backgrounds' mean.

    If backgrounds are subtracted, tokens that are implausible under the blends are excluded: otherwise a token that is
    unlikely under the blends could win because it is even less likely under the backgrounds.

    Args:
        logits: Logits of a direction's blends, then of the backgrounds if beta is not 0, (n, streams, vocabulary).
        blends: Number of streams that are blends.
        beta: Factor of the subtraction.

    Returns:
        (n, vocabulary) float32.

    Source: Li et al., "Contrastive Decoding" (2023), arXiv 2210.15097, for the plausibility constraint; there the
    contrast is between two models, here between two inputs of one model.
    """
    probabilities = logits.float().log_softmax(-1)
    blended = probabilities[:, :blends].mean(1)
    if not beta:
        return blended
    scores = blended - beta * probabilities[:, blends:].mean(1)
    return scores.masked_fill(blended < blended.amax(1, keepdim=True) + math.log(PLAUSIBLE), -math.inf)
