"""Whether explanations come across: sentences, plots, similarity matrices, and all washouts beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from bridge.metrics import Metric
from bridge.report.html.inputs import RunFiles
from bridge.report.html.plots import heat
from bridge.report.html.score_plots import score_plots
from bridge.report.html.svg import Plot
from bridge.report.html.tables import Table, base_name, metric_table
from bridge.report.measures import Key, Measures
from bridge.scorers import MAPPED, MISPAIRED, RANDOM_DIRECTION, Section

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


def transfer(run: RunFiles, metrics: Sequence[Metric], measures: Measures, key: str) -> Transfer:
    """Arrange the scores of explanations; keys of plots begin with `key`."""
    names = list(run.said) or [""]
    by_washout: dict[str, list[tuple[str, Metric]]] = {washout: [] for washout in names}
    for metric in metrics:
        name, washout = base_name(metric.name, names)
        by_washout[washout].append((name, metric))
    own = [metric for _, metric in by_washout[names[0]]]
    listed = {(metric.scorer, metric.name) for metric in own if measures.of(metric).compared}
    compared = [one for one in measures.in_order(own) if one in listed]
    return Transfer(
        measures.sentences(own, Section.EXPLANATIONS),
        names[0],
        score_plots(own, measures, key),
        _matrices(run, names[0], key),
        _numbers(run, names[0]),
        metric_table("Scores of explanations, with 95% intervals over features", own, measures),
        [(washout, _compared(some, compared)) for washout, some in by_washout.items()],
        [measures.title(one, own) for one in compared],
    )


def _compared(named: Sequence[tuple[str, Metric]], compared: Sequence[Key]) -> list[Pair]:
    cells: Mapping[tuple[Key, str], Metric] = {((one.scorer, name), one.arm): one for name, one in named}
    mapped = [(key, cells.get((key, MAPPED))) for key in compared]
    return [(metric, cells.get((key, metric.control)) if metric else None) for key, metric in mapped]


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
