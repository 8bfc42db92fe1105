"""Whether a source feature fires on the destination's activations where it fires on the source's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

import numpy as np

from bridge.dictionaries import Dictionary
from bridge.errors import BridgeError
from bridge.hookspecs import hookimpl
from bridge.maps import FittedMap
from bridge.metrics import Metric
from bridge.scorers import Evidence, Need, Rows, Scorer
from bridge_scorers.shares import SAMPLE, Array, chunks, feature_mean


@final
class Firing(Scorer):
    """Mean over features of Pearson's r between a feature's activation on x and on back(y), over held-out rows.

    At most 20,000 rows drawn by seed; features that fire on one of the source's rows at least. A feature that never
    varies on either side has no correlation and counts as 0. The interval is a bootstrap over features, not documents.

    Source: the firing correlation of arXiv 2605.24577.
    """

    name = "firing"
    summary = "Correlation of source features' activations on source rows and on destination rows mapped back."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP, Need.SRC_DICTIONARY})

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Hold one sample of rows, and encode it in chunks for every arm."""
        dictionary = evidence.src_dictionary
        assert dictionary is not None, "the runtime runs only scorers whose needs are met"
        rows = evidence.held_out.sample(SAMPLE, evidence.seed)
        for arm in evidence.arms:
            correlations = _correlations(dictionary, evidence.back[arm], rows)
            value, interval = feature_mean(correlations, evidence.seed)
            note = f"n counts features alive on the source's rows; {len(rows.x)} rows; interval over features"
            yield evidence.metric(self, "firing_r", arm, value, interval, len(correlations), note)


def _correlations(dictionary: Dictionary, back: FittedMap, rows: Rows) -> Array:
    """Return Pearson's r of each alive feature, (alive,) float64."""
    # Sums and sums of squares of both sides and of their product: one pass, and no rows by features in memory.
    sums = np.zeros((5, len(dictionary.directions)))
    for part in chunks(len(rows.x)):
        first = dictionary.encode(rows.x[part]).astype(np.float64)
        second = dictionary.encode(back(rows.y[part]).astype(np.float32)).astype(np.float64)
        for i, terms in enumerate((first, second, first**2, second**2, first * second)):
            sums[i] += terms.sum(0)
    n = len(rows.x)
    x, y, xx, yy, xy = sums[:, sums[0] > 0]
    if not len(x):
        raise BridgeError(
            f"No feature of the source dictionary fires on the {n} held-out rows.",
            cause="It belongs to another model or site, or reads activations on another scale.",
        )
    variances = np.stack([xx - x * x / n, yy - y * y / n])
    # Below this, the difference is rounding.
    varies = (variances > 1e-12 * np.stack([xx, yy])).all(0)
    scale = np.sqrt(np.where(varies, variances, 1.0).prod(0))
    correlations: Array = np.where(varies, (xy - x * y / n) / scale, 0.0)
    return np.clip(correlations, -1.0, 1.0)


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer the correlation of firing."""
    register(Firing())
