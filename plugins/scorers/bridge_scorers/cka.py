"""Similarity of two sets of activations up to a rotation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.hookspecs import hookimpl
from bridge.metrics import Metric, jackknife_interval
from bridge.scorers import RANDOM_MAP, Evidence, Measure, Need, Scorer

Array = NDArray[np.float64]
SAMPLE = 2000
GROUPS = 20


@final
class LinearCKA(Scorer):
    """Debiased linear CKA of y^ and y, on at most 2,000 held-out rows drawn by seed.

    CKA is invariant to rotations of either side: the random map has the score of no map. That arm gives the similarity
    of the two models before fitting, and only the mapped arm's gain over it is due to the map. The interval is a
    jackknife over 20 groups of documents.

    Source: Kornblith et al., "Similarity of neural network representations revisited" (2019), section 3; the unbiased
    HSIC of Song et al., "Feature selection via dependence maximization" (2012), equation 5; the biased CKA grows with
    the width if rows are few.
    """

    name = "cka"
    summary = "Linear CKA of mapped and true activations: similarity up to rotation."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})
    measures = (Measure(name="cka", meaning="similarity up to rotation", unit="share", better="higher", order=40),)

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Compute the Gram matrices of one sample of rows."""
        rows = evidence.held_out.sample(SAMPLE, evidence.seed)
        _, group = np.unique(np.unique(rows.document, return_inverse=True)[1] % GROUPS, return_inverse=True)
        true = _gram(rows.y - evidence.held_out.mean_dst)
        own = _hsic(true, true, group)
        for arm, fitted in evidence.arms.items():
            mapped = _gram(fitted(rows.x) - evidence.held_out.mean_dst)
            found = _hsic(mapped, true, group) / np.sqrt(_hsic(mapped, mapped, group) * own)
            note = "equal for every rotation" if arm == RANDOM_MAP else ""
            value = float(found[0])
            interval = jackknife_interval(value, found[1:])
            yield evidence.metric(self, "cka", arm, value, interval, len(group), note, control=RANDOM_MAP)


def _gram(rows: Array) -> Array:
    gram: Array = rows @ rows.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _hsic(first: Array, second: Array, group: NDArray[np.intp]) -> Array:
    """Return the unbiased HSIC of all rows, and without the rows of each group: (1 + groups,).

    All terms are sums over pairs of rows. The sums are computed once by groups; subtraction gives each sub-sample's.

    Args:
        first: Gram matrix with a diagonal of zeros, (n, n).
        second: Gram matrix with a diagonal of zeros, (n, n).
        group: Group of each row, 0 to groups - 1, (n,).
    """
    groups = int(group.max()) + 1
    # Column 0 keeps every row, column 1 + g the rows outside group g.
    kept = np.column_stack([np.ones(len(group)), *(group != index for index in range(groups))])
    n = kept.sum(0)
    left, right = first @ kept, second @ kept
    crossed = (kept * left * right).sum(0)
    totals = (kept * left).sum(0) * (kept * right).sum(0)
    products = (kept * ((first * second) @ kept)).sum(0)
    found: Array = (products + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * crossed) / (n * (n - 3))
    return found


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Register linear CKA."""
    register(LinearCKA())
