"""What scorers are given, from arrays; what they find, by name and arm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bridge.maps import Array
from bridge.metrics import Metric
from bridge.scorers import Evidence, HeldOutPairs, Rows, Scorer


class InMemory(HeldOutPairs):
    """Held-out pairs from arrays, in blocks of odd sizes."""

    def __init__(self, rows: Rows, mean_src: Array, mean_dst: Array) -> None:
        self.rows, self.mean_src, self.mean_dst = rows, mean_src, mean_dst
        self.n_documents = int(rows.document.max()) + 1

    def blocks(self) -> Iterator[Rows]:
        for part in np.array_split(np.arange(len(self.rows.x)), 7):
            yield self.rows.take(part)


def scores(scorer: Scorer, evidence: Evidence) -> dict[tuple[str, str], Metric]:
    return {(metric.name, metric.arm): metric for metric in scorer.score(evidence)}
