"""The laws of scorers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bridge.errors import UsageError
from bridge.metrics import Metric
from bridge.scorers import MAPPED, Evidence, Need, Scorer
from bridge.testing.laws import Laws
from bridge.testing.synthetic import PairedWorld

WIDTHS = ((10, 10), (10, 13))
_AT_HAND = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})


def check_scorer(scorer: Scorer) -> None:
    """Try the laws of `bridge.scorers.Scorer` on one scorer.

    The evidence is a least-squares map and its controls over 450 held-out float32 rows of 30 documents, some of them
    outliers: once between equal widths, with the arms `mapped`, `mispaired`, `random_map` and `raw`, and once between
    unequal widths, where there is no `raw`.

    Args:
        scorer: The instance that the plugin registers.

    Raises:
        ConformanceError: If a law is broken.
        UsageError: If the scorer needs what this check cannot supply.
    """
    laws = Laws(f"The scorer {scorer.name}", "bridge.scorers.Scorer")
    if beyond := set(scorer.needs) - _AT_HAND:
        raise UsageError(
            f"The scorer {scorer.name} needs {', '.join(sorted(beyond))}, which check_scorer cannot supply.",
            remedy="Call its score() on evidence of your own.",
        )
    for widths in WIDTHS:
        evidence = PairedWorld(*widths).evidence()
        metrics = list(scorer.score(evidence))
        given = f"widths {widths[0]} and {widths[1]}, arms {', '.join(evidence.arms)}"
        rows = sum(len(block.x) for block in evidence.held_out.blocks())
        for metric in metrics:
            _check_metric(laws, metric, scorer, evidence, rows, given)
        _check_arms(laws, metrics, evidence, given)
        again = list(scorer.score(evidence))
        differing = [metric for metric, other in zip(metrics, again, strict=False) if metric != other]
        found = f"the second time differs in {differing[:1]} of {len(metrics)} and {len(again)} metrics"
        same = len(metrics) == len(again) and not differing
        laws.require(same, "the same evidence gives the same metrics", given, found)


def _check_metric(laws: Laws, metric: Metric, scorer: Scorer, evidence: Evidence, rows: int, given: str) -> None:
    law = "every metric has a finite value inside its interval, and the number of rows it rests on"
    laws.require(isinstance(metric, Metric), law, given, f"{metric!r} is no bridge.metrics.Metric")
    slack = 1e-9 * max(1.0, abs(metric.value))
    inside = metric.low - slack <= metric.value <= metric.high + slack
    finite = all(math.isfinite(number) for number in (metric.value, metric.low, metric.high))
    found = f"{metric.name} of {metric.arm} is {metric.value} in [{metric.low}, {metric.high}]"
    laws.require(finite and inside, law, given, found)
    laws.require(1 <= metric.n <= rows, law, given, f"{metric.name} of {metric.arm} rests on {metric.n} of {rows} rows")
    law = "a metric carries the scorer, map and references that it belongs to"
    names = (metric.scorer, metric.map, metric.src, metric.dst)
    laws.require(names == (scorer.name, evidence.map, evidence.src, evidence.dst), law, given, f"it names {names}")


def _check_arms(laws: Laws, metrics: Sequence[Metric], evidence: Evidence, given: str) -> None:
    law = "every arm in the evidence is scored, so that no number stands without its control"
    laws.require(bool(metrics), law, given, "no metric came back")
    for name in {metric.name for metric in metrics}:
        arms = sorted(metric.arm for metric in metrics if metric.name == name)
        found = f"{name} is given for {', '.join(arms)}"
        laws.require(arms == sorted(evidence.arms), law, given, found)
    for metric in metrics:
        if metric.arm == MAPPED:
            found = f"{metric.name} of {MAPPED} names the control {metric.control!r}"
            laws.require(metric.control in evidence.arms, law, given, found)
