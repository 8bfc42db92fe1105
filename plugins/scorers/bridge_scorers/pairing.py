"""How much more alike partners are than others, feature by feature, and whether the pairing could be any other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PERMUTATIONS = 10_000
CHUNK_ELEMENTS = 2**22
# A sum over the same pairs in another order differs in its last bits; it is a tie all the same.
ROUNDING = 1e-12


def over_all(similarity: Array) -> Array:
    """Return each row and column's part in the mean over all pairs, which is their mean: (n,).

    The parts are `E_i. + E_.i - E_..` (`.` averages), the influence of row i and column i: to resample them is to
    resample rows and columns.

    Args:
        similarity: E of the native texts (rows) with as many others (columns), (n, n).
    """
    parts: Array = similarity.mean(1) + similarity.mean(0) - similarity.mean()
    return parts


def over_others(similarity: Array) -> Array:
    """Return each feature's part in `mean_i E_ii - mean_{i != j} E_ij`, which is their mean: (n,).

    The parts are `(E_ii - E_i. - E_.i + E_..) n / (n - 1)`: what depends on the row or on the column alone (a text
    that is similar to all) is in none of them, and so not in their interval.

    Args:
        similarity: E of the native texts (rows) with the texts of their partners (columns), (n, n), n at least 2.
    """
    relative, n = _relative(similarity), len(similarity)
    parts: Array = (relative.diagonal() - over_all(relative)) * (n / (n - 1))
    return parts


def ranks(similarity: Array) -> NDArray[np.int64]:
    """Return the rank of each feature's native text among all of them, most similar to its partner first: (n,) from 1.

    Others that are just as similar are counted as before it: who says the same of everything finds nothing.
    """
    found: NDArray[np.int64] = (similarity >= similarity.diagonal()).sum(0)
    return found


def as_good(similarity: Array, seed: int) -> int:
    """Count how many of `PERMUTATIONS` random pairings of natives and partners match at least as well as the true one.

    The feature-specific lift of a pairing grows with the sum over its pairs and with nothing else; that is compared.

    Args:
        similarity: E as in `over_others`.
        seed: Of the permutations.
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
    """Take the first column off every column and then the first row off every row.

    No contrast between pairings changes, and texts that are all the same leave zeros, not the rounding of their sums.
    """
    relative: Array = similarity - similarity[:, :1]
    relative -= relative[:1].copy()
    return relative
