"""The split of a dictionary's features into training, tuning and reporting."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Use", "features_for"]

Use = Literal["training", "tuning", "reporting"]
"""The use of a feature: training verbalizers, tuning washouts, or reporting."""

SHARES: dict[Use, tuple[float, float]] = {"reporting": (0.0, 0.25), "tuning": (0.25, 0.5), "training": (0.5, 1.0)}


def features_for(use: Use, n_features: int) -> NDArray[np.bool_]:
    """Mark the features of one use, (n_features,) bool; the split is the same in every call.

    Verbalizers are trained on half of the features, washouts are tuned on a quarter, and the last quarter is reported.
    Tuning a washout on features that a verbalizer was trained on fits memorised features: on our pair these had a lift
    of 0.20 where others had 0.11.

    Args:
        use: The use.
        n_features: Number of features of the dictionary.

    Returns:
        (n_features,) bool.
    """
    low, high = SHARES[use]
    drawn = np.random.default_rng(20260).random(n_features)
    chosen: NDArray[np.bool_] = (low <= drawn) & (drawn < high)
    return chosen
