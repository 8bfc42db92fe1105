"""An audit on the terminal: one table per question, and the interpretation of each number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import fill
from typing import TYPE_CHECKING

from bridge.display.measures import asks, installed_measures
from bridge.metrics import Metric
from bridge.report.table import print_rows
from bridge.scorers import MAPPED
from bridge.terminal import console, say

if TYPE_CHECKING:
    from bridge.pipeline.jobs.audit import Audit

WIDTH = 100
"""Maximal width of sentences in columns: longer lines are hard to read."""

Pair = tuple[str, str]


def print_audit(audit: Audit) -> None:
    """Print every question whose metric was measured: a row for each target and site, a column for each arm."""
    source = next((metric.src.rpartition("@")[0] for metric in audit.metrics), "")
    _say(f"Dictionaries of {source}, transferred to:\n")
    for question, number in installed_measures().questions(audit.metrics):
        found = [metric for metric in audit.metrics if asks(question, number, metric)]
        if found:
            _say(question.title)
            _print_table(found)
            _say(question.shows + "\n")
    for record in audit.provenance:
        for scorer, error in record.get("failed_scorers", {}).items():
            _say(f"The scorer {scorer} failed; its scores are missing: {error}")


def _say(text: str) -> None:
    lines = (fill(line, min(WIDTH, console().width), break_on_hyphens=False) for line in text.split("\n"))
    say("\n".join(lines))


def _print_table(metrics: Sequence[Metric]) -> None:
    """Print a row for each pair of references and each matched dictionary (`mapped:NAME`; the first has no name)."""
    cells: dict[tuple[Pair, str, str], Metric] = {}
    for metric in metrics:
        arm, _, twin = metric.arm.partition(":")
        cells[(metric.src, metric.dst), twin, arm] = metric
    arms = sorted(dict.fromkeys(arm for *_, arm in cells), key=lambda arm: arm != MAPPED)
    twins = list(dict.fromkeys((pair, twin) for pair, twin, _ in cells))
    named = any(twin for _, twin in twins)
    rows = []
    for label, pair in _labels(list(dict.fromkeys(pair for pair, _ in twins))):
        for twin in [twin for other, twin in twins if other == pair] if pair else [""]:
            found = [_cell(cells.get((pair, twin, arm)), arm) if pair else "" for arm in arms]
            rows.append([label, *([twin] if named else []), *found])
    print_rows(["", *(["against"] if named else []), *arms], rows)


def _labels(pairs: Sequence[Pair]) -> Iterator[tuple[str, Pair | None]]:
    """Yield each row's label and its pair; a target with several sites yields a heading without a pair first."""
    for target, found in groupby(pairs, key=lambda pair: pair[1].rpartition("@")[0]):
        of_target = list(found)
        if len(of_target) > 1:
            yield target, None
        for pair in of_target:
            src, dst = (reference.rpartition("@")[2] for reference in pair)
            site = dst if src == dst else f"{src} -> {dst}"
            yield (f"  {site}" if len(of_target) > 1 else f"{target}@{site}"), pair


def _cell(metric: Metric | None, arm: str) -> str:
    if metric is None:
        return "-"
    if arm == MAPPED and metric.low < metric.high:
        return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
    return f"{metric.value:.3f}"
