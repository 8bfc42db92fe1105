"""A part of a page, the scores that most parts show, and the table they stand in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bridge.metrics import Metric
from bridge.report.html.plots import score_plots
from bridge.report.html.words import ARMS
from bridge.report.measures import Key, Measures
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


class Row(NamedTuple):
    """One measure: its name and meaning, a metric an arm or None, and the arm that the mapped one is read against."""

    name: str
    meaning: str
    cells: Sequence[Metric | None]
    control: str


class Table(NamedTuple):
    """Measures of some arms, and what those arms are that are known."""

    caption: str
    arms: Sequence[str]
    glossary: Sequence[tuple[str, str]]
    rows: Sequence[Row]


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


def metric_table(caption: str, metrics: Sequence[Metric], measures: Measures, known: Mapping[str, str] = ARMS) -> Table:
    """Arrange metrics of one pair of models: a row a measure, a column an arm, those `known` first and in its order."""
    cells = {(metric.scorer, metric.name, metric.arm): metric for metric in metrics}
    arms = in_order(dict.fromkeys(arm for *_, arm in cells), known)
    rows = []
    for number in measures.in_order(metrics):
        found = [cells.get((*number, arm)) for arm in arms]
        there = [metric for metric in found if metric]
        control = next((metric.control for metric in there if metric.control), "")
        rows.append(Row(measures.title(number, metrics), measures.of(there[0]).meaning, found, control))
    return Table(caption, arms, [(arm, known[arm]) for arm in arms if arm in known], rows)


def beside_control(metrics: Iterable[tuple[Key, Metric]], numbers: Sequence[Key]) -> list[Pair]:
    """Find for each number, by scorer and name, the mapped metric and its control's."""
    cells = {(key, metric.arm): metric for key, metric in metrics}
    mapped = [(key, cells.get((key, MAPPED))) for key in numbers]
    return [(metric, cells.get((key, metric.control)) if metric else None) for key, metric in mapped]


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Sort known names as they are known, and leave the others behind them as they come."""
    places = {name: place for place, name in enumerate(known)}
    return sorted(names, key=lambda name: places.get(name, len(places)))
