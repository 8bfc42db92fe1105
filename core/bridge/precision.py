"""The error of a fit on moments from float32 products."""

from __future__ import annotations

import numpy as np

from bridge.moments import Moments

__all__ = ["TOLERANCE", "expected_error"]

TOLERANCE = 1e-6
"""Largest accepted error of a coefficient, in units of the largest coefficient."""

SAFETY = 10
"""The largest error of all coefficients, in units of the largest standard deviation: 1.5 to 9 in our measurements, over
condition numbers of 1 to 1e8, means of 1e5 spreads, massive dimensions, outlying rows and real residual streams."""


def expected_error(moments: Moments, rounding: float) -> float:
    """Bound the error of least-squares coefficients from rounded moments, relative to the largest coefficient.

    With columns scaled to unit scatter, C = X'X, W = C^-1 X'Y and errors E of C and F of X'Y whose entries are
    independent and of size r, first-order perturbation gives dW = C^-1 (F - E W), whose entry (i, j) has the standard
    deviation r ||C^-1_i|| sqrt(1 + ||W_j||^2). A penalty makes it smaller.

    Args:
        moments: Moments of all training rows.
        rounding: r, as measured by `RowSums.rounding`.

    Returns:
        The bound; infinite if the rows do not determine the coefficients.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    scale, scatter = np.sqrt(np.diag(moments.xx)), np.diag(moments.yy)
    if not (scale > 0).all() or not scatter.any():
        return np.inf
    try:
        factor = cho_factor(moments.xx / scale / scale[:, None], lower=True, overwrite_a=True)
    except LinAlgError:
        return np.inf
    inverse = cho_solve(factor, np.eye(len(scale)))
    weight = inverse @ (moments.xy / scale[:, None])
    spread = np.max(np.linalg.norm(inverse, axis=1) / scale) * np.sqrt(np.max(scatter + np.sum(weight**2, axis=0)))
    return float(SAFETY * rounding * spread / np.max(np.abs(weight / scale[:, None])))
