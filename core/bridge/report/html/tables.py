"""Metrics as the tables of a page: one row a measure, one column an arm, the control named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from bridge.metrics import Metric
from bridge.report.html.words import ARMS
from bridge.report.measures import Measures


@final
@dataclass(frozen=True)
class Row:
    """One measure.

    Attributes:
        name: Of the metric, with its scorer where another one has a number of that name.
        meaning: In a few words; empty where its scorer does not say, or is not installed.
        cells: One metric an arm, None where that arm was not measured.
        control: The arm that the mapped one is read against.
    """

    name: str
    meaning: str
    cells: Sequence[Metric | None]
    control: str


@final
@dataclass(frozen=True)
class Table:
    """Some measures of some arms.

    Attributes:
        caption: What is shown.
        arms: The columns.
        glossary: The arms that are known, and what they are.
        rows: The measures.
    """

    caption: str
    arms: Sequence[str]
    glossary: Sequence[tuple[str, str]]
    rows: Sequence[Row]


def metric_table(caption: str, metrics: Sequence[Metric], measures: Measures, known: Mapping[str, str] = ARMS) -> Table:
    """Arrange metrics of one pair of models.

    Args:
        caption: What is shown.
        metrics: The numbers.
        measures: What they are, and their order.
        known: What arms are, in the order of the columns.
    """
    cells = {(metric.scorer, metric.name, metric.arm): metric for metric in metrics}
    arms = in_order(dict.fromkeys(arm for _, _, arm in cells), known)
    rows = []
    for scorer, name in measures.in_order(metrics):
        found = [cells.get((scorer, name, arm)) for arm in arms]
        there = [metric for metric in found if metric]
        control = next((metric.control for metric in there if metric.control), "")
        title = measures.title((scorer, name), metrics)
        rows.append(Row(title, measures.of(there[0]).meaning, found, control))
    return Table(caption, arms, [(arm, known[arm]) for arm in arms if arm in known], rows)


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Sort known names as they are known, and leave the others behind them as they come."""
    places = {name: place for place, name in enumerate(known)}
    return sorted(names, key=lambda name: places.get(name, len(places)))


def base_name(name: str, washouts: Sequence[str]) -> tuple[str, str]:
    """Split a lift metric's name into measure and washout; the run's own washout is not part of names.

    A suffix is only taken for a washout where it is one: `explanation_retrieval@1` is a name.
    """
    for washout in washouts[1:]:
        if name.endswith(f"@{washout}"):
            return name.removesuffix(f"@{washout}"), washout
    return name, washouts[0] if washouts else ""
