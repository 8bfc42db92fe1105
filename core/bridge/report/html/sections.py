"""A part of a page, and the scores that most parts show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bridge.display.measures import Key, Measures
from bridge.display.plots import score_plots
from bridge.display.tables import metric_table
from bridge.display.words import ARMS
from bridge.metrics import Metric
from bridge.scorers import MAPPED
from bridge.scorers import Section as Question

Pair = tuple[Metric | None, Metric | None]
"""The mapped arm's number, and its control's."""


class Section(NamedTuple):
    """One part: its key, unique in the page; its heading; its file in `templates/sections`; what that file is given."""

    key: str
    title: str
    template: str
    data: Any


def scores(
    metrics: Sequence[Metric],
    measures: Measures,
    question: Question,
    key: str,
    caption: str,
    known: Mapping[str, str] = ARMS,
) -> dict[str, Any]:
    """Answer a question: sentences, plots whose keys begin with `key`, and the table of all numbers."""
    return {
        "sentences": measures.sentences(metrics, question),
        "plots": score_plots(metrics, measures, key),
        "table": metric_table(caption, metrics, measures, known),
    }


def beside_control(metrics: Iterable[tuple[Key, Metric]], numbers: Sequence[Key]) -> list[Pair]:
    """Find for each number, by scorer and name, the mapped metric and its control's."""
    cells = {(key, metric.arm): metric for key, metric in metrics}
    mapped = [(key, cells.get((key, MAPPED))) for key in numbers]
    return [(metric, cells.get((key, metric.control)) if metric else None) for key, metric in mapped]
