"""Whether explanations come across: sentences, plots, similarity matrices, and all washouts beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from bridge.metrics import Metric
from bridge.report.features import explanation_sentences
from bridge.report.html.inputs import RunFiles
from bridge.report.html.plots import arms_of, heat
from bridge.report.html.svg import Plot
from bridge.report.html.tables import Table, base_name, metric_table
from bridge.report.html.words import METRICS
from bridge.scorers import MAPPED, MISPAIRED, NATIVE, RANDOM_DIRECTION

LIFT = "lift"
"""The scorer of explanations; all others are about the map."""

EXPLAINING = frozenset({LIFT, "topics"})
"""All scorers of features' explanations."""

HEADLINES = ("lift", "specific_lift", "explanation_retrieval@1", "feature_topic_named")
COMPARED = (*HEADLINES, "permutation_p", "flagged", "distinct")
QUALITY = ("flagged", "distinct")
MATRICES = {MAPPED: "Through the map", MISPAIRED: "Through the mispaired map", RANDOM_DIRECTION: "Random directions"}
WRITTEN_OUT = 64
"""Features up to which the similarity matrix is a table too; more would make a page of megabytes."""

Pair = tuple[Metric | None, Metric | None]
"""The mapped arm's number, and its control's."""


@final
@dataclass(frozen=True)
class Transfer:
    """What the section shows.

    Attributes:
        sentences: What the scores say.
        washout: The run's own, whose scores these are.
        plots: Of the headline scores.
        matrices: The mapped similarity matrix and its controls, on one scale.
        numbers: The mapped matrix by number of the feature; empty where it is too large.
        table: Every score of the run's own washout.
        washouts: For each one the `compared` scores.
        compared: Their names.
    """

    sentences: Sequence[str]
    washout: str
    plots: Sequence[Plot]
    matrices: Sequence[Plot]
    numbers: Sequence[tuple[int, Sequence[float]]]
    table: Table
    washouts: Sequence[tuple[str, Sequence[Pair]]]
    compared: Sequence[str]


def transfer(run: RunFiles, metrics: Sequence[Metric], key: str) -> Transfer:
    """Arrange the scores of explanations; keys of plots begin with `key`."""
    names = list(run.said) or [""]
    by_washout: dict[str, list[tuple[str, Metric]]] = {washout: [] for washout in names}
    for metric in metrics:
        name, washout = base_name(metric.name, names)
        by_washout[washout].append((name, metric))
    own = [metric for _, metric in by_washout[names[0]]]
    compared = [name for name in COMPARED if any(metric.name == name for metric in own)]
    headlines = [[metric for metric in own if metric.name == name] for name in HEADLINES]
    return Transfer(
        _sentences(own),
        names[0],
        [
            arms_of(f"{key}-plot{at}", some[0].name, METRICS[some[0].name], some)
            for at, some in enumerate(headlines)
            if some
        ],
        _matrices(run, names[0], key),
        _numbers(run, names[0]),
        metric_table("Scores of explanations, with 95% intervals over features", own),
        [(washout, _compared(some, compared)) for washout, some in by_washout.items()],
        compared,
    )


def _sentences(own: Sequence[Metric]) -> list[str]:
    there = {(metric.name, metric.arm) for metric in own}
    needed = {(name, MAPPED) for name in ("lift", "permutation_p", "explanation_retrieval@1")}
    needed |= {(name, arm) for name in QUALITY for arm in (MAPPED, NATIVE)}
    return explanation_sentences(own) if needed <= there else []


def _compared(named: Sequence[tuple[str, Metric]], compared: Sequence[str]) -> list[Pair]:
    cells: Mapping[tuple[str, str], Metric] = {(name, metric.arm): metric for name, metric in named}
    mapped = [(name, cells.get((name, MAPPED))) for name in compared]
    return [(metric, cells.get((name, metric.control)) if metric else None) for name, metric in mapped]


def _matrices(run: RunFiles, washout: str, key: str) -> list[Plot]:
    shown = {arm: run.similarity[washout, arm] for arm in MATRICES if (washout, arm) in run.similarity}
    if not shown:
        return []
    ends = min(float(m.min()) for m in shown.values()), max(float(m.max()) for m in shown.values())
    labels = "native text of feature", "foreign text of feature"
    return [
        heat(f"{key}-matrix{at}", MATRICES[arm], "", matrix, ends, labels)
        for at, (arm, matrix) in enumerate(shown.items())
    ]


def _numbers(run: RunFiles, washout: str) -> list[tuple[int, Sequence[float]]]:
    matrix = run.similarity.get((washout, MAPPED))
    if matrix is None or len(matrix) > WRITTEN_OUT:
        return []
    return [(one.feature, row.tolist()) for one, row in zip(run.said[washout], matrix, strict=True)]
