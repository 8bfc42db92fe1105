"""A section of a page, and the scores that most sections show."""

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
    """One section: its key, unique in the page; its heading; its template in `templates/sections`; its data."""

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
    """Return a section of scores: sentences, plots whose keys begin with `key`, and the table of all numbers."""
    return {
        "sentences": measures.sentences(metrics, question),
        "plots": score_plots(metrics, measures, key),
        "table": metric_table(caption, metrics, measures, known),
    }


def beside_control(metrics: Iterable[tuple[Key, Metric]], numbers: Sequence[Key]) -> list[Pair]:
    """Find the mapped metric and the control's metric for each number, given by scorer and name."""
    cells = {(key, metric.arm): metric for key, metric in metrics}
    mapped = [(key, cells.get((key, MAPPED))) for key in numbers]
    return [(metric, cells.get((key, metric.control)) if metric else None) for key, metric in mapped]
