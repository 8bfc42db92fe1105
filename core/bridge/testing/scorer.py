"""The laws of scorers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bridge.metrics import Metric
from bridge.scorers import MAPPED, NATIVE, RAW, SELF, Evidence, Need, Scorer
from bridge.testing.laws import Laws
from bridge.testing.synthetic import PairedWorld

WIDTHS = ((10, 10), (10, 13))
_DICTIONARIES = frozenset({Need.SRC_DICTIONARY, Need.DST_DICTIONARY})


def check_scorer(scorer: Scorer) -> None:
    """Test the laws of `bridge.scorers.Scorer` on one scorer.

    The evidence is a least-squares map and its controls over 450 held-out float32 rows of 30 documents, some of them
    outliers: once between equal widths, with the arms `mapped`, `mispaired`, `random_map` and `raw`, and, for scorers
    that do not need equal widths, once between unequal widths, without `raw`. Each time the evidence has once only the
    scorer's needs, and once everything: dictionaries, their twins, a live model, explanations of twelve features with
    two washouts, some of them empty or flagged, and readings of forty rows. A scorer of explanations scores the
    explained arms. A scorer with a plot draws it as in the report.

    Args:
        scorer: The instance that the plugin registers.

    Raises:
        ConformanceError: If a law is broken.
    """
    laws = Laws(f"The scorer {scorer.name}", "bridge.scorers.Scorer")
    for widths in WIDTHS:
        if widths[0] != widths[1] and Need.EQUAL_WIDTHS in scorer.needs:
            continue
        for supply in (scorer.needs, frozenset(Need)):
            evidence = PairedWorld(*widths).evidence(supply)
            given = f"widths {widths[0]} and {widths[1]}, arms {', '.join(evidence.arms)}"
            if extra := sorted(supply - {Need.HELD_OUT_PAIRS, Need.MAP, Need.EQUAL_WIDTHS}):
                given += f", with {', '.join(extra)}"
            _check_scores(laws, scorer, evidence, given)


def _check_scores(laws: Laws, scorer: Scorer, evidence: Evidence, given: str) -> None:
    metrics = list(scorer.score(evidence))
    rows = sum(len(block.x) for block in evidence.held_out.blocks())
    for metric in metrics:
        _check_metric(laws, metric, scorer, evidence, rows, given)
    listed = {measure.name for measure in scorer.measures}
    unlisted = sorted({metric.name for metric in metrics if not {metric.name, metric.name.rpartition("@")[0]} & listed})
    law = "every number is among the scorer's `measures`, if it has any"
    laws.require(not listed or not unlisted, law, given, f"{', '.join(unlisted)} are not")
    _check_arms(laws, metrics, scorer, evidence, given)
    again = list(scorer.score(evidence))
    differing = [metric for metric, other in zip(metrics, again, strict=False) if metric != other]
    found = f"the second time differs in {differing[:1]} of {len(metrics)} and {len(again)} metrics"
    same = len(metrics) == len(again) and not differing
    laws.require(same, "the same evidence gives the same metrics", given, found)
    _check_kept(laws, scorer, evidence, given)


def _check_kept(laws: Laws, scorer: Scorer, evidence: Evidence, given: str) -> None:
    from bridge.plugins.checks import fault_of_kept
    from bridge.report.html.scorer_plots import draw, own_arrays

    kept: dict[str, NDArray[np.floating]] = {}
    list(scorer.score(replace(evidence, keep=kept.__setitem__)))
    for name, array in kept.items():
        wrong = fault_of_kept(name, array)
        laws.require(not wrong, "kept arrays are finite floats with a valid name", given, wrong)
    if type(scorer).plot is Scorer.plot:
        return
    law = "a plot depends only on the kept arrays, has a text description, and is the same every time"
    own = {name: array.astype(np.float32) for name, array in own_arrays(scorer.name, kept).items()}
    found = f"no kept array has a name beginning with {scorer.name}.: {', '.join(kept) or 'nothing was kept'}"
    laws.require(bool(own), law, given, found)
    if not own:
        return
    try:
        first, second = (draw(scorer, own, "plot") for _ in range(2))
    except Exception as error:  # any error breaks the law
        laws.require(False, law, given, f"{type(error).__name__}: {error}")
    else:
        laws.require(bool(first), law, given, "no plot was returned")
        laws.require(first == second, law, given, "the second plot differs from the first")


def _check_metric(laws: Laws, metric: Metric, scorer: Scorer, evidence: Evidence, rows: int, given: str) -> None:
    law = "every metric has a finite value inside its interval, and the number of rows behind it"
    laws.require(isinstance(metric, Metric), law, given, f"{metric!r} is not a bridge.metrics.Metric")
    slack = 1e-9 * max(1.0, abs(metric.value))
    inside = metric.low - slack <= metric.value <= metric.high + slack
    finite = all(math.isfinite(number) for number in (metric.value, metric.low, metric.high))
    found = f"{metric.name} of {metric.arm} is {metric.value} in [{metric.low}, {metric.high}]"
    laws.require(finite and inside, law, given, found)
    laws.require(1 <= metric.n <= rows, law, given, f"{metric.name} of {metric.arm} has n {metric.n} for {rows} rows")
    law = "a metric names its scorer, map and references"
    names = (metric.scorer, metric.map, metric.src, metric.dst)
    laws.require(names == (scorer.name, evidence.map, evidence.src, evidence.dst), law, given, f"it names {names}")


def _check_arms(laws: Laws, metrics: Sequence[Metric], scorer: Scorer, evidence: Evidence, given: str) -> None:
    law = "every arm in the evidence is scored, so that every number has its control"
    laws.require(bool(metrics), law, given, "no metric was returned")
    expected, companions = set(evidence.arms), frozenset[str]()
    if scorer.needs & _DICTIONARIES:
        companions = _companions(evidence)
    if Need.EXPLANATIONS in scorer.needs:
        expected = {arm for explained in evidence.explained.values() for arm in explained.foreign}
        companions |= {NATIVE}
    if Need.READINGS in scorer.needs:
        companions |= {NATIVE, SELF}
    for name in {metric.name for metric in metrics}:
        same = [metric for metric in metrics if metric.name == name]
        arms = sorted(metric.arm for metric in same)
        found = f"{name} is given for {', '.join(arms)}"
        laws.require(set(arms) - companions == expected, law, given, found)
        laws.require(len(set(arms)) == len(arms), "no arm is scored twice", given, found)
        for metric in same:
            if metric.arm == MAPPED:
                found = f"{name} of {MAPPED} names the control {metric.control!r}"
                laws.require(metric.control in arms, law, given, found)


def _companions(evidence: Evidence) -> frozenset[str]:
    """Arms that scorers of dictionaries may add: `self`, `native`, and twins with and without the map."""
    homes = ((SELF, evidence.src_dictionary), (NATIVE, evidence.dst_dictionary))
    twins = {f"{arm}:{name}" for arm in (MAPPED, RAW) if arm in evidence.arms for name in evidence.twins}
    return frozenset({arm for arm, dictionary in homes if dictionary is not None} | twins)
