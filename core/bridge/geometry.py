"""Lengths and directions of vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["fraction_of_variance_explained", "nrm_variance_explained", "unit_rows", "with_lengths_of"]


def unit_rows(rows: NDArray[np.floating], negligible: float = 0.0) -> NDArray[np.float64]:
    """Scale rows to unit norm, (..., d) -> (..., d) float64; rows of zeros stay zero.

    Args:
        rows: (..., d), any float type.
        negligible: Rows with a norm up to this value become zeros, because they are rounding errors.

    Returns:
        (..., d) float64.
    """
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.where(lengths <= negligible, 0.0, wide / np.maximum(lengths, np.finfo(float).tiny))


def with_lengths_of(rows: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    """Scale each row to the length of the corresponding other row: (n, d) and (n, k) or (1, k) -> (n, d).

    Args:
        rows: (n, d), no row of zeros.
        others: (n, k), or (1, k) for all rows.

    Returns:
        (n, d).
    """
    lengths = np.linalg.norm(others, axis=1, keepdims=True)
    return np.asarray(rows * (lengths / np.linalg.norm(rows, axis=1, keepdims=True)))


def fraction_of_variance_explained(
    true: NDArray[np.floating], found: NDArray[np.floating], mean: NDArray[np.floating]
) -> float:
    """Return 1 - sum||u(x) - u(y)||^2 / sum||u(x) - u(mean)||^2, where u scales rows to unit norm.

    This compares directions, relative to the mean activation. Model cards of released autoencoders use another FVE: see
    `nrm_variance_explained`.

    Args:
        true: x, (n, d).
        found: y, (n, d).
        mean: (1, d).
    """
    error, baseline = (float(np.square(unit_rows(true) - unit_rows(other)).sum()) for other in (found, mean))
    return 1 - error / baseline


def nrm_variance_explained(
    true: NDArray[np.floating], found: NDArray[np.floating], rows: NDArray[np.floating]
) -> float:
    """Return 1 - mean||u(x) - u(y)||^2 / mean||u(r) - mean u(r)||^2, where u scales rows to unit norm.

    The denominator is the variance of unit vectors. Their mean is shorter than 1 and has a smaller error than any unit
    vector, so the result is below `fraction_of_variance_explained`.

    Args:
        true: x, (n, d).
        found: y, (n, d).
        rows: r, activations that give the variance, (m, d); use many rows even if there are few x.

    Returns:
        The fraction; NaN if the rows do not vary.

    Source: `fve_nrm` of github.com/kitft/natural_language_autoencoders, nla/loss.py and schema.py, as in model cards.
    """
    units = unit_rows(rows)
    error, variance = (
        float(np.square(one - other).sum(-1).mean())
        for one, other in ((unit_rows(true), unit_rows(found)), (units, units.mean(0)))
    )
    return 1 - error / variance if variance else float("nan")
