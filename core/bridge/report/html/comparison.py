"""Several runs side by side: the mapped arm of each with its control, and whether the runs are comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.display.measures import Measures
from bridge.display.plots import dots
from bridge.display.words import dig
from bridge.pipeline.jobs.results import RunFiles
from bridge.report.html.sections import Section, beside_control
from bridge.scorers import MAPPED
from bridge.scorers import Section as Question

SAME = (("corpus", "sha256"), *(("options", name) for name in ("split", "held_out", "seed", "max_documents")))
"""Options that are equal if two runs are scored on the same held-out documents."""


def comparison(runs: Mapping[str, RunFiles], measures: Measures) -> Section:
    """Compare runs by label: one row per metric, one column per run."""
    mapped = [metric for run in runs.values() for metric in run.metrics if metric.arm == MAPPED]
    numbers, headlines = [], set()
    for question in Question:
        of_question = measures.within(mapped, question)
        numbers += measures.in_order(of_question)
        headlines |= set(measures.headlines(of_question))
    keyed = [[((metric.scorer, metric.name), metric) for metric in run.metrics] for run in runs.values()]
    meanings = {(metric.scorer, metric.name): measures.of(metric).meaning for metric in mapped}
    columns = [beside_control(some, numbers) for some in keyed]
    rows = [
        (measures.title(number, mapped), meanings[number], list(cells))
        for number, *cells in zip(numbers, *columns, strict=True)
    ]
    plots = []
    for at, (name, meaning, cells) in enumerate(rows):
        pairs = [(label, metric) for label, pair in zip(runs, cells, strict=True) for metric in pair if metric]
        lines = [(label if metric.arm == MAPPED else metric.arm, metric) for label, metric in pairs]
        plots += [dots(f"compare-{at}", name, meaning, lines)] if numbers[at] in headlines else []
    documents = {repr([dig(run.record.provenance, *keys) for keys in SAME]) for run in runs.values()}
    data = {"runs": runs, "rows": rows, "plots": plots, "same_documents": len(documents) == 1}
    return Section("compare", "Side by side", "comparison", data)


def labels(runs: Sequence[RunFiles]) -> dict[str, RunFiles]:
    """Name runs by their folders, with a number if two folders have the same name."""
    named: dict[str, RunFiles] = {}
    for run in runs:
        name = run.folder.resolve().name
        same = sum(label == name or label.startswith(f"{name} (") for label in named)
        named[f"{name} ({same + 1})" if same else name] = run
    return named
