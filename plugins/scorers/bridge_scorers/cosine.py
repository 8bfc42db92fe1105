"""The cosine between mapped and true activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

import numpy as np

from bridge.hookspecs import hookimpl
from bridge.metrics import Metric, ratio_interval
from bridge.scorers import Evidence, Measure, Need, Scorer


@final
class Cosine(Scorer):
    """Mean over held-out rows of cos(y^ - mean, y - mean), with the destination's training mean.

    Centred, because activations share a large mean: the uncentred cosine of any two rows is close to 1.
    """

    name = "cosine"
    summary = "Mean cosine of mapped and true activations, centred."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})
    measures = (
        Measure(
            name="cosine",
            meaning="mean cosine of mapped and true rows, centred",
            unit="cosine",
            better="higher",
            order=30,
        ),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Stream over the rows once, for all arms."""
        pairs = evidence.held_out
        sums = {arm: np.zeros(pairs.n_documents) for arm in evidence.arms}
        counts = np.zeros(pairs.n_documents)
        for rows in pairs.typical():
            counts += rows.sum_by_document(np.ones(len(rows.y)), pairs.n_documents)
            true = rows.y - pairs.mean_dst
            for arm, fitted in evidence.arms.items():
                mapped = fitted(rows.x) - pairs.mean_dst
                lengths = np.linalg.norm(true, axis=1) * np.linalg.norm(mapped, axis=1)
                cosines = np.einsum("nd,nd->n", true, mapped) / np.maximum(lengths, np.finfo(float).tiny)
                sums[arm] += rows.sum_by_document(cosines, pairs.n_documents)
        for arm, by_document in sums.items():
            interval = ratio_interval(by_document, counts, evidence.seed)
            value = float(by_document.sum() / counts.sum())
            yield evidence.metric(self, "cosine", arm, value, interval, int(counts.sum()))


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer cosine."""
    register(Cosine())
