"""Retrieval of a mapped activation's own partner among many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import final

import numpy as np

from bridge.geometry import unit_rows
from bridge.hookspecs import hookimpl
from bridge.metrics import Metric, ratio_interval
from bridge.scorers import Evidence, Measure, Need, Scorer
from bridge_scorers.sentences import beside_control

POOL = 2000
POOLS = 5


@final
class Retrieval(Scorer):
    """Share of rows whose mapped activation is nearest, by centred cosine, to its own partner among 2,000.

    EV can be high because of properties that many rows share (position, token shape); retrieval measures whether rows
    can be told apart. Up to five disjoint pools are drawn by seed from the held-out rows, because a single pool of
    2,000 has an error of 0.01; chance is 1 / pool.
    """

    name = "retrieval"
    summary = "Share of mapped activations whose nearest true activation of 2,000 is their own."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})
    measures = (
        Measure(
            name="retrieval@1",
            meaning="share of rows nearest to their own partner",
            unit="share",
            better="higher",
            order=20,
            swept=True,
        ),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Draw one sample of rows, and rank each of its pools for every arm."""
        pairs = evidence.held_out
        rows = pairs.sample(POOL * POOLS, evidence.seed)
        size = min(POOL, len(rows.x))
        # Sampled rows are in document order; without a shuffle, a pool would have few documents, which is harder.
        order = np.random.default_rng(evidence.seed).permutation(len(rows.x))[: len(rows.x) // size * size]
        rows = rows.take(order)
        true = unit_rows(rows.y - pairs.mean_dst)
        counts = rows.sum_by_document(np.ones(len(rows.x)), pairs.n_documents)
        pools = [slice(start, start + size) for start in range(0, len(rows.x), size)]
        note = f"{len(pools)} pools of {size}; chance {1 / size:.4f}"
        for arm, fitted in evidence.arms.items():
            mapped = unit_rows(fitted(rows.x) - pairs.mean_dst)
            nearest = [(mapped[pool] @ true[pool].T).argmax(1) for pool in pools]
            hits = (np.stack(nearest) == np.arange(size)).ravel()
            by_document = rows.sum_by_document(hits.astype(np.float64), pairs.n_documents)
            interval = ratio_interval(by_document, counts, evidence.seed)
            yield evidence.metric(self, "retrieval@1", arm, float(hits.mean()), interval, len(hits), note)

    def sentences(self, metrics: Sequence[Metric]) -> list[str]:
        """Compare the map's retrieval with its control's."""
        return beside_control(metrics, "retrieval@1", "finds {value} of partners ({note})")


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer retrieval."""
    register(Retrieval())
