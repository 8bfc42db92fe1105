"""Similarity of partners compared with others, by feature, and the permutation test of the pairing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PERMUTATIONS = 10_000
CHUNK_ELEMENTS = 2**22
# Sums over the same pairs in another order differ in their last bits but count as ties.
ROUNDING = 1e-12


def over_all(similarity: Array) -> Array:
    """Return the contribution of each row and column to the mean over all pairs, (n,); their mean is that mean.

    The contributions are `E_i. + E_.i - E_..` (`.` averages), the influence of row i and column i: resampling them
    resamples rows and columns.

    Args:
        similarity: E of the native texts (rows) with as many others (columns), (n, n).
    """
    parts: Array = similarity.mean(1) + similarity.mean(0) - similarity.mean()
    return parts


def over_others(similarity: Array) -> Array:
    """Return the contribution of each feature to `mean_i E_ii - mean_{i != j} E_ij`, (n,); their mean is this value.

    The contributions are `(E_ii - E_i. - E_.i + E_..) n / (n - 1)`: effects of a row or a column alone (a text that is
    similar to all) cancel, and do not widen the interval.

    Args:
        similarity: E of the native texts (rows) with the texts of their partners (columns), (n, n), n at least 2.
    """
    relative, n = _relative(similarity), len(similarity)
    parts: Array = (relative.diagonal() - over_all(relative)) * (n / (n - 1))
    return parts


def ranks(similarity: Array) -> NDArray[np.int64]:
    """Return the rank of each feature's native text by similarity to its partner, (n,), from 1.

    Ties count against the native text, so that a verbalizer with one text for all inputs finds nothing.
    """
    found: NDArray[np.int64] = (similarity >= similarity.diagonal()).sum(0)
    return found


def as_good(similarity: Array, seed: int) -> int:
    """Count how many of `PERMUTATIONS` random pairings of natives and partners match at least as well as the true one.

    The feature-specific lift of a pairing is an increasing function of the sum over its pairs, so sums are compared.

    Args:
        similarity: E as in `over_others`.
        seed: Seed of the permutations.
    """
    relative, n = _relative(similarity), len(similarity)
    least = np.trace(relative) / n - ROUNDING
    rng, count, left = np.random.default_rng(seed), 0, PERMUTATIONS
    while left:
        some = min(left, max(1, CHUNK_ELEMENTS // n))
        pairings = rng.permuted(np.tile(np.arange(n), (some, 1)), axis=1)
        count += int((relative[np.arange(n), pairings].mean(1) >= least).sum())
        left -= some
    return count


def _relative(similarity: Array) -> Array:
    """Subtract the first column from every column and then the first row from every row.

    This changes no contrast between pairings, and identical texts give exact zeros instead of rounding errors.
    """
    relative: Array = similarity - similarity[:, :1]
    relative -= relative[:1].copy()
    return relative
