"""Lengths and directions of vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["fraction_of_variance_explained", "nrm_variance_explained", "unit_rows", "with_lengths_of"]


def unit_rows(rows: NDArray[np.floating], negligible: float = 0.0) -> NDArray[np.float64]:
    """Bring rows to unit norm, (..., d) -> (..., d) float64; rows of zeros stay zero.

    Args:
        rows: (..., d), any float type.
        negligible: Rows that are no longer than this become zeros: what is left of them is rounding.

    Returns:
        (..., d) float64.
    """
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.where(lengths <= negligible, 0.0, wide / np.maximum(lengths, np.finfo(float).tiny))


def with_lengths_of(rows: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    """Give rows the lengths of others, one by one: (n, d) and (n, k) or (1, k) -> (n, d).

    Args:
        rows: (n, d), none of zeros.
        others: (n, k), or (1, k) for all.

    Returns:
        (n, d).
    """
    lengths = np.linalg.norm(others, axis=1, keepdims=True)
    return np.asarray(rows * (lengths / np.linalg.norm(rows, axis=1, keepdims=True)))


def fraction_of_variance_explained(
    true: NDArray[np.floating], found: NDArray[np.floating], mean: NDArray[np.floating]
) -> float:
    """Return 1 - sum||u(x) - u(y)||^2 / sum||u(x) - u(mean)||^2, where u brings rows to unit norm.

    So it compares directions, against always giving the mean activation. Not what cards of released autoencoders call
    FVE: see `nrm_variance_explained`.

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
    """Return 1 - mean||u(x) - u(y)||^2 / mean||u(r) - mean u(r)||^2, where u brings rows to unit norm.

    Over the variance of unit vectors, whose mean is shorter than they are: always giving that mean is better than any
    unit vector can be, so this is below `fraction_of_variance_explained`.

    Args:
        true: x, (n, d).
        found: y, (n, d).
        rows: r, activations like x whose variance it is, (m, d): many, where there are few x.

    Returns:
        The share; NaN where the rows do not vary.

    Source: `fve_nrm` of github.com/kitft/natural_language_autoencoders, nla/loss.py and schema.py, which cards print.
    """
    units = unit_rows(rows)
    error, variance = (
        float(np.square(one - other).sum(-1).mean())
        for one, other in ((unit_rows(true), unit_rows(found)), (units, units.mean(0)))
    )
    return 1 - error / variance if variance else float("nan")
