"""The share of the destination's variance that a map explains on held-out documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.hookspecs import hookimpl
from bridge.metrics import Metric
from bridge.scorers import Evidence, HeldOutPairs, Measure, Need, Question, Scorer
from bridge_scorers.sentences import beside_control
from bridge_scorers.shares import share_explained

NOTES = {
    "ev": "",
    "ev_with_outliers": "rows of outlying norm included",
    "ev_entrywise": "1 - MSE / var(all entries), the variant of arXiv 2605.24577",
}


@final
class ExplainedVariance(Scorer):
    """Three variants, each for every arm.

    `ev` is 1 - sum ||y - y^||^2 / sum ||y - mean||^2 over held-out rows without norm outliers (variance-weighted R^2);
    `ev_with_outliers` the same with them; `ev_entrywise` the variant of arXiv 2605.24577, 1 - MSE / var(all entries),
    whose denominator also counts the differences between the dimensions' means and is therefore larger.
    """

    name = "explained_variance"
    summary = "Share of the destination's variance that the map explains (EV)."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})
    measures = (
        Measure(
            name="ev",
            meaning="share of the held-out variance explained",
            unit="share",
            better="higher",
            order=10,
            swept=True,
            questions=(
                Question(
                    title="How much of the destination's activations does the map explain? (EV on held-out rows)",
                    shows="This is about the upper limit of a dictionary transferred through the map. mispaired is the"
                    " floor.",
                ),
            ),
        ),
        Measure(
            name="ev_with_outliers",
            meaning="the same, rows of outlying norm included",
            unit="share",
            better="higher",
            order=11,
        ),
        Measure(
            name="ev_entrywise", meaning="the variant of arXiv 2605.24577", unit="share", better="higher", order=12
        ),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Stream over the rows twice: for their mean, then for all arms at once."""
        pairs = evidence.held_out
        mean, mean_of_all = _means(pairs)
        count = dict.fromkeys(NOTES, 0)
        spread = {name: np.zeros(pairs.n_documents) for name in NOTES}
        residual = {arm: {name: np.zeros(pairs.n_documents) for name in NOTES} for arm in evidence.arms}
        for rows in pairs.blocks():
            everything = np.ones(len(rows.y), dtype=bool)
            for name, kept, centre in (
                ("ev", ~rows.outlier, mean),
                ("ev_with_outliers", everything, mean_of_all),
                ("ev_entrywise", ~rows.outlier, np.full_like(mean, mean.mean())),
            ):
                count[name] += int(kept.sum())
                spread[name] += rows.sum_by_document(((rows.y - centre) ** 2).sum(1) * kept, pairs.n_documents)
            for arm, fitted in evidence.arms.items():
                error = ((rows.y - fitted(rows.x)) ** 2).sum(1)
                typical = rows.sum_by_document(error * ~rows.outlier, pairs.n_documents)
                residual[arm]["ev"] += typical
                residual[arm]["ev_entrywise"] += typical
                residual[arm]["ev_with_outliers"] += rows.sum_by_document(error, pairs.n_documents)
        for arm in evidence.arms:
            for name, note in NOTES.items():
                value, interval = share_explained(residual[arm][name], spread[name], evidence.seed)
                yield evidence.metric(self, name, arm, value, interval, count[name], note)

    def sentences(self, metrics: Sequence[Metric]) -> list[str]:
        """Compare the map's EV with its control's."""
        return beside_control(metrics, "ev", "explains {value} of the held-out variance")


def _means(pairs: HeldOutPairs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of the typical rows and of all rows, both (d_dst,)."""
    sums, counts = np.zeros((2, len(pairs.mean_dst))), np.zeros(2)
    for rows in pairs.blocks():
        for i, y in enumerate((rows.y[~rows.outlier], rows.y)):
            sums[i] += y.sum(0, dtype=np.float64)
            counts[i] += len(y)
    return sums[0] / counts[0], sums[1] / counts[1]


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Register explained variance."""
    register(ExplainedVariance())
