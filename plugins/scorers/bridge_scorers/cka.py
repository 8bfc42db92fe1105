"""How similar two sets of activations are whatever the rotation between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.hookspecs import hookimpl
from bridge.metrics import Metric, jackknife_interval
from bridge.scorers import RANDOM_MAP, Evidence, Need, Scorer

Array = NDArray[np.float64]
SAMPLE = 2000
GROUPS = 20


@final
class LinearCKA(Scorer):
    """Debiased linear CKA of y^ and y, on at most 2,000 held-out rows drawn by seed.

    CKA does not change under rotations of either side: the random map scores as high as no map at all. That arm says
    what the two models share before anything is fitted, and only the mapped arm's gain over it is the map's. The
    interval is a jackknife over 20 groups of documents.

    Source: Kornblith et al., "Similarity of neural network representations revisited" (2019), section 3; the unbiased
    HSIC of Song et al., "Feature selection via dependence maximization" (2012), equation 5, without which CKA grows
    with the width where rows are few.
    """

    name = "cka"
    summary = "Linear CKA of mapped and true activations: similarity up to rotation."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Hold one sample of rows and its Gram matrices."""
        rows = evidence.held_out.sample(SAMPLE, evidence.seed)
        group = np.unique(rows.document, return_inverse=True)[1] % GROUPS
        true = _gram(rows.y - evidence.held_out.mean_dst)
        for arm, fitted in evidence.arms.items():
            mapped = _gram(fitted(rows.x) - evidence.held_out.mean_dst)
            value = _cka(mapped, true)
            kept = [np.ix_(group != index, group != index) for index in np.unique(group)]
            left_out = np.array([_cka(mapped[rest], true[rest]) for rest in kept])
            note = "the same for every rotation" if arm == RANDOM_MAP else ""
            interval = jackknife_interval(value, left_out)
            yield evidence.metric(self, "cka", arm, value, interval, len(group), note, control=RANDOM_MAP)


def _gram(rows: Array) -> Array:
    gram: Array = rows @ rows.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _hsic(first: Array, second: Array) -> float:
    n = len(first)
    totals = first.sum() * second.sum() / ((n - 1) * (n - 2))
    crossed = 2 / (n - 2) * float(first.sum(0) @ second.sum(0))
    return float(np.vdot(first, second) + totals - crossed) / (n * (n - 3))


def _cka(first: Array, second: Array) -> float:
    return _hsic(first, second) / float(np.sqrt(_hsic(first, first) * _hsic(second, second)))


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer linear CKA."""
    register(LinearCKA())
