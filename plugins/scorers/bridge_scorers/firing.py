"""Correlation of a source feature's activations on the source with those on the destination."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import final

import numpy as np

from bridge.dictionaries import Dictionary
from bridge.errors import BridgeError
from bridge.hookspecs import hookimpl
from bridge.maps import FittedMap
from bridge.metrics import Metric
from bridge.scorers import Evidence, Measure, Need, Question, Rows, Scorer, Section
from bridge_scorers.shares import SAMPLE, Array, chunks, feature_mean


@final
class Firing(Scorer):
    """Mean over features of Pearson's r between a feature's activation on x and on back(y), over held-out rows.

    The scorer uses at most 20,000 rows drawn by seed, and features that fire on at least one of the source's rows. A
    feature that is constant on either side counts as 0. The interval is a bootstrap over features, not documents.

    Source: the firing correlation of arXiv 2605.24577.
    """

    name = "firing"
    summary = "Correlation of source features' activations on source rows and on destination rows mapped back."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP, Need.SRC_DICTIONARY})
    measures = (
        Measure(
            name="firing_r",
            meaning="whether features fire on the same tokens",
            unit="correlation",
            better="higher",
            section=Section.DICTIONARY,
            order=30,
            questions=(
                Question(
                    title="Do features fire together? (mean Pearson r over alive features)",
                    shows="Correlation of each feature between the source's and the destination's row of the same "
                    "token. Chance is 0.",
                ),
            ),
        ),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Encode one sample of rows in chunks: the source's rows once, the destination's rows for every arm."""
        dictionary = evidence.src_dictionary
        assert dictionary is not None, "the runtime runs only scorers whose needs are met"
        rows = evidence.held_out.sample(SAMPLE, evidence.seed)
        for arm, correlations in _correlations(dictionary, evidence.back, rows):
            value, interval = feature_mean(correlations, evidence.seed)
            note = f"n counts features alive on the source's rows; {len(rows.x)} rows; interval over features"
            yield evidence.metric(self, "firing_r", arm, value, interval, len(correlations), note)


def _correlations(dictionary: Dictionary, backs: Mapping[str, FittedMap], rows: Rows) -> Iterator[tuple[str, Array]]:
    """Yield each arm with Pearson's r of each alive feature, (alive,) float64."""
    # Sums, sums of squares and of products: one pass for all arms, without a (rows, features) array in memory.
    features, n = len(dictionary.directions), len(rows.x)
    own = np.zeros((2, features))
    others = {arm: np.zeros((3, features)) for arm in backs}
    for part in chunks(n, features):
        first = dictionary.encode(rows.x[part]).astype(np.float64)
        own += first.sum(0), _sum_of_products(first, first)
        for arm, back in backs.items():
            second = dictionary.encode(back(rows.y[part]).astype(np.float32)).astype(np.float64)
            others[arm] += second.sum(0), _sum_of_products(second, second), _sum_of_products(first, second)
    alive = own[0] > 0
    if not alive.any():
        raise BridgeError(
            f"No feature of the source dictionary fires on the {n} held-out rows.",
            cause="The dictionary belongs to another model or site, or needs activations on another scale.",
        )
    for arm, sums in others.items():
        yield arm, _pearson(n, *own[:, alive], *sums[:, alive])


def _sum_of_products(left: Array, right: Array) -> Array:
    products: Array = np.einsum("ij,ij->j", left, right)
    return products


def _pearson(n: int, x: Array, xx: Array, y: Array, yy: Array, xy: Array) -> Array:
    variances = np.stack([xx - x * x / n, yy - y * y / n])
    # A smaller difference is a rounding error.
    varies = (variances > 1e-12 * np.stack([xx, yy])).all(0)
    scale = np.sqrt(np.where(varies, variances, 1.0).prod(0))
    correlations: Array = np.where(varies, (xy - x * y / n) / scale, 0.0)
    return np.clip(correlations, -1.0, 1.0)


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Register the correlation of firing."""
    register(Firing())
