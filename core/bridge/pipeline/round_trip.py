"""How much of an activation comes back from its explanation: cosine, and variance explained against the mean's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


def cosine(x: Rows, y: Rows) -> NDArray[np.float64]:
    """Return row by row the cosine between (n, d) and (n, d) or (1, d), (n,) float64."""
    return np.asarray((_unit(x) * _unit(y)).sum(1))


def variance_explained(x: Rows, y: Rows, mean: Rows) -> float:
    """Return 1 - sum||u(x) - u(y)||^2 / sum||u(x) - u(mean)||^2, where u brings rows to unit norm.

    Args:
        x: (n, d).
        y: (n, d).
        mean: (1, d).
    """
    error, baseline = (float(np.square(_unit(x) - _unit(other)).sum()) for other in (y, mean))
    return 1 - error / baseline


def _unit(rows: Rows) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))
