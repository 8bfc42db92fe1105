"""Which features of a dictionary may be trained and tuned on, and which are kept for reporting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reserved(n_features: int) -> NDArray[np.bool_]:
    """Mark the features kept for reporting, (n_features,) bool: about every second one, the same ones everywhere.

    Verbalizers are trained and washouts tuned on the others only.
    """
    chosen: NDArray[np.bool_] = np.random.default_rng(20260).random(n_features) < 0.5
    return chosen
