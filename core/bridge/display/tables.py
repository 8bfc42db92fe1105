"""Metrics arranged for a reader: a table of one pair of models, and the matrix of a layer sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bridge.display.measures import Key, Measures
from bridge.display.words import ARMS
from bridge.metrics import Metric


class Row(NamedTuple):
    """One measure: name, meaning, one metric or None per arm, and the arm that `mapped` is compared with."""

    name: str
    meaning: str
    cells: Sequence[Metric | None]
    control: str


class Table(NamedTuple):
    """Measures of some arms, and the meanings of the known arms."""

    caption: str
    arms: Sequence[str]
    glossary: Sequence[tuple[str, str]]
    rows: Sequence[Row]


def metric_table(caption: str, metrics: Sequence[Metric], measures: Measures, known: Mapping[str, str] = ARMS) -> Table:
    """Arrange metrics of one pair of models: one row per measure, one column per arm, `known` arms first in order."""
    cells = {(metric.scorer, metric.name, metric.arm): metric for metric in metrics}
    arms = in_order(dict.fromkeys(arm for *_, arm in cells), known)
    rows = []
    for number in measures.in_order(metrics):
        found = [cells.get((*number, arm)) for arm in arms]
        there = [metric for metric in found if metric]
        control = next((metric.control for metric in there if metric.control), "")
        rows.append(Row(measures.title(number, metrics), measures.of(there[0]).meaning, found, control))
    return Table(caption, arms, [(arm, known[arm]) for arm in arms if arm in known], rows)


def layer_grid(
    metrics: Iterable[Metric], src_sites: Sequence[str], dst_sites: Sequence[str], key: Key
) -> NDArray[np.float64]:
    """Return one number, by scorer and name, of every layer pair, (source layers, destination layers)."""
    values = np.full((len(src_sites), len(dst_sites)), np.nan)
    for metric in metrics:
        if (metric.scorer, metric.name) == key:
            values[src_sites.index(metric.src), dst_sites.index(metric.dst)] = metric.value
    return values


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Sort known names in the order of `known`; the others follow in their given order."""
    places = {name: place for place, name in enumerate(known)}
    return sorted(names, key=lambda name: places.get(name, len(places)))
