"""Several runs side by side: the mapped arm of each with its control, and whether they can be compared at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.metrics import Metric
from bridge.report.html.inputs import RunFiles
from bridge.report.html.plots import Dot, dots
from bridge.report.html.section import Section
from bridge.report.html.words import dig
from bridge.report.measures import Measures
from bridge.scorers import MAPPED
from bridge.scorers import Section as Questions

SAME = (("corpus", "sha256"), *(("options", name) for name in ("split", "held_out", "seed", "max_documents")))
"""What must be equal for two runs to be scored on the same held-out documents."""

Pair = tuple[Metric | None, Metric | None]
"""The mapped arm's number, and its control's."""


def comparison(runs: Mapping[str, RunFiles], measures: Measures) -> Section:
    """Compare runs by label: a row a metric, a column a run."""
    cells = {
        (label, metric.scorer, metric.name, metric.arm): metric for label, run in runs.items() for metric in run.metrics
    }
    mapped = [metric for run in runs.values() for metric in run.metrics if metric.arm == MAPPED]
    meanings = {(metric.scorer, metric.name): measures.of(metric).meaning for metric in mapped}
    names, headlines = [], set()
    for section in Questions:
        of_section = measures.within(mapped, section)
        names += measures.in_order(of_section)
        headlines |= set(measures.headlines(of_section))
    rows = [
        (measures.title((by, name), mapped), meanings[by, name], [_cell(cells, label, by, name) for label in runs])
        for by, name in names
    ]
    plots = [
        dots(f"compare-{at}", name, meaning, _lines(list(runs), found))
        for at, (name, meaning, found) in enumerate(rows)
        if names[at] in headlines
    ]
    documents = {repr([dig(run.record, "provenance", *keys) for keys in SAME]) for run in runs.values()}
    data: dict[str, Any] = {"runs": runs, "rows": rows, "plots": plots, "same_documents": len(documents) == 1}
    return Section("compare", "Side by side", "comparison", data)


def labels(runs: Sequence[RunFiles]) -> dict[str, RunFiles]:
    """Name runs by their folders, with a number where two folders have one name."""
    named: dict[str, RunFiles] = {}
    for run in runs:
        name = run.folder.resolve().name
        same = sum(label == name or label.startswith(f"{name} (") for label in named)
        named[f"{name} ({same + 1})" if same else name] = run
    return named


def _cell(cells: Mapping[tuple[str, str, str, str], Metric], label: str, by: str, name: str) -> Pair:
    mapped = cells.get((label, by, name, MAPPED))
    return mapped, cells.get((label, by, name, mapped.control)) if mapped else None


def _lines(labels: Sequence[str], found: Sequence[Pair]) -> list[Dot]:
    return [
        Dot(label if metric.arm == MAPPED else metric.arm, metric)
        for label, pair in zip(labels, found, strict=True)
        for metric in pair
        if metric
    ]
