"""Similarity of a foreign verbalizer's explanations to those of the model's own verbalizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import final

import numpy as np

from bridge.errors import UsageError
from bridge.hookspecs import hookimpl
from bridge.metrics import Metric
from bridge.scorers import (
    MAPPED,
    MISPAIRED,
    NATIVE,
    RANDOM_DIRECTION,
    Evidence,
    Explained,
    Judge,
    Need,
    Scorer,
)
from bridge.verbalizers import Explanation
from bridge_scorers.flags import described, quality
from bridge_scorers.measures import of_features
from bridge_scorers.pairing import PERMUTATIONS, Array, as_good, over_all, over_others, ranks
from bridge_scorers.sentences import by_arm
from bridge_scorers.shares import Interval, feature_mean
from bridge_scorers.similarity import embed

FLAGGED = 0.1
"""Share of flagged or repeated texts above which a warning is shown."""

Scored = tuple[str, str, float, Interval, str, str]
"""Name, arm, value, interval, note and control of one number."""


@final
class Lift(Scorer):
    """Similarity of foreign to native explanations, corrected for similarity that does not depend on the feature.

    With E_ij the cosine between the embeddings of the native text of feature i and the foreign text of feature j:

    - `matched`: mean E_ii. Any two texts with the same template, length or style are similar, so this needs a control.
    - `lift`: `matched` minus the mean of all E_ij of the arm `random_direction`. This removes content that the foreign
      verbalizer writes for any input, but not content that it writes for every *real* direction.
    - `specific_lift`: mean E_ii - mean_{i != j} E_ij. This also removes content that all foreign or all native texts
      share; but shared content takes part of the norm of every embedding, which makes the difference smaller.
    - `lift_centred`, `specific_lift_centred`: the same after subtracting the mean native embedding from the native
      embeddings and the mean embedding of the arm from the arm's embeddings, and scaling to unit norm, so that shared
      content has no influence. Means are those of the sample, and are held fixed in the intervals.
    - `permutation_p`: how often a random pairing has as high a `specific_lift`, one-sided, (1 + count) / (1 + 10,000).
      Its interval is that of the count (Clopper and Pearson).
    - `explanation_retrieval@1`, `mrr`: whether the foreign text is nearest to its own native text, and the mean
      reciprocal rank; ties count against it.
    - `flagged`, `distinct`: the share of texts that a verbalizer flagged (empty, truncated, another script), and the
      number of different texts over n. Flagged texts are included everywhere; empty texts have similarity 0.

    Random directions have no partners: `matched` of that arm is the mean of all its pairs, and its `lift` is 0; other
    scores use an arbitrary pairing. Intervals are 95% percentile intervals of 1,000 resamples of features, in rows and
    columns at once.

    Source: the 1 + in the p-value: Phipson and Smyth, Permutation P-values Should Never Be Zero (2010).
    """

    name = "lift"
    summary = "Similarity of foreign to native explanations, minus that of random directions and other features."
    needs = frozenset({Need.EXPLANATIONS})
    measures = (
        of_features("lift", "matched, minus texts of random directions", "cosine", 10, headline=True),
        of_features("lift_centred", "the same, without content shared by all texts", "cosine", 11),
        of_features("specific_lift", "matched, minus texts of other features", "cosine", 12, headline=True),
        of_features("specific_lift_centred", "the same, without content shared by all texts", "cosine", 13),
        of_features("explanation_retrieval@1", "texts that find their own feature first", "share", 14, headline=True),
        of_features("mrr", "mean reciprocal rank of the own feature", "share", 15),
        of_features(
            "permutation_p", "probability that a random pairing is as good", "p", 16, better="lower", compared=True
        ),
        of_features("matched", "mean cosine of a feature's two texts", "cosine", 17),
        of_features("flagged", "share of texts with a flag", "share", 19, better="lower", compared=True),
        of_features("distinct", "share of different texts", "share", 20, compared=True),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Compare the texts of every washout; metrics of all washouts but the first have the suffix `@WASHOUT`.

        Raises:
            UsageError: If there is only one direction.
        """
        assert evidence.judge is not None, "the runtime hands one out with explanations"
        for position, (washout, explained) in enumerate(evidence.explained.items()):
            n, suffix = len(explained.native), f"@{washout}" if position else ""
            if n < 2:
                raise UsageError(f"{n} explained direction cannot be compared with others.", remedy="Explain more.")
            for name, arm, value, interval, note, control in _compare(evidence, evidence.judge, washout, explained):
                yield evidence.metric(self, name + suffix, arm, value, interval, n, note, control)

    def sentences(self, metrics: Sequence[Metric]) -> list[str]:
        """Describe whether explanations transfer, and warn about flagged or repeated texts."""
        found = by_arm(metrics)
        lift, p, first = (found.get((name, MAPPED)) for name in ("lift", "permutation_p", "explanation_retrieval@1"))
        if not lift or not p or not first:
            return []
        mispaired = found.get(("lift", MISPAIRED))
        above = lift.low > max(0.0, mispaired.high if mispaired else 0.0)
        control = f" (through a map fitted on mispaired rows: {mispaired.value:+.3f})" if mispaired else ""
        lines = [
            f"Explanations {'transfer' if above else 'do NOT clearly transfer'}: they are {lift.value:+.3f} "
            f"[{lift.low:+.3f}, {lift.high:+.3f}] closer in cosine to the source's own than texts of random directions "
            f"are{control}; {first.value:.0%} find their own feature among {first.n}; permutation p {p.value:.4f}."
        ]
        for arm, whose in ((NATIVE, "The source's own"), (MAPPED, "The foreign")):
            flagged, distinct = found.get(("flagged", arm)), found.get(("distinct", arm))
            if flagged and distinct and (flagged.value > FLAGGED or distinct.value < 1 - FLAGGED):
                lines.append(
                    f"{whose} explanations: {flagged.value:.0%} are flagged, {distinct.value:.0%} are distinct. "
                    "Read some of them."
                )
        return lines


def _compare(evidence: Evidence, judge: Judge, washout: str, explained: Explained) -> Iterator[Scored]:
    seed, chance = evidence.seed, 1 / np.arange(1, len(explained.native) + 1)
    native = embed(judge, _texts(explained.native))
    foreign = {arm: embed(judge, _texts(explanations)) for arm, explanations in explained.foreign.items()}
    plain = {arm: native.similarity(texts) for arm, texts in foreign.items()}
    centred = {arm: native.centred().similarity(texts.centred()) for arm, texts in foreign.items()}
    for arm, explanations in {NATIVE: explained.native, **explained.foreign}.items():
        for name, values in quality(explanations).items():
            yield name, arm, *feature_mean(values, seed), described(explanations), NATIVE
    for arm, similarity in plain.items():
        evidence.keep(f"similarity.{washout}.{arm}", similarity.astype(np.float32))
        texts = f"{described(explained.foreign[arm])}; native: {described(explained.native)}"
        matched = _matched(arm, similarity)
        lift, lift_centred = (_matched(arm, e[arm]) - over_all(e[RANDOM_DIRECTION]) for e in (plain, centred))
        all_pairs = f"no partners, so all pairs; {texts}" if arm == RANDOM_DIRECTION else texts
        rank = ranks(similarity)
        first = (rank == 1).astype(np.float64)
        parts: list[tuple[str, Array, str, str]] = [
            ("matched", matched, all_pairs, RANDOM_DIRECTION),
            ("lift", lift, all_pairs, RANDOM_DIRECTION),
            ("lift_centred", lift_centred, all_pairs, RANDOM_DIRECTION),
            ("specific_lift", over_others(similarity), texts, MISPAIRED),
            ("specific_lift_centred", over_others(centred[arm]), texts, MISPAIRED),
            ("explanation_retrieval@1", first, f"chance {chance[-1]:.4f}; {texts}", MISPAIRED),
            ("mrr", 1 / rank, f"chance {chance.mean():.4f}; {texts}", MISPAIRED),
        ]
        for name, values, note, control in parts:
            yield name, arm, *feature_mean(values, seed), note, control
        yield "permutation_p", arm, *_p_value(as_good(similarity, seed)), f"of specific_lift; {texts}", MISPAIRED


def _matched(arm: str, similarity: Array) -> Array:
    return over_all(similarity) if arm == RANDOM_DIRECTION else similarity.diagonal()


def _texts(explanations: Sequence[Explanation]) -> list[str]:
    return [explanation.text for explanation in explanations]


def _p_value(count: int) -> tuple[float, Interval]:
    from scipy.stats import binomtest

    interval = binomtest(count, PERMUTATIONS).proportion_ci(method="exact")
    return (1 + count) / (1 + PERMUTATIONS), (float(interval.low), float(interval.high))


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer lift."""
    register(Lift())
