"""Scores of explanations: sentences, plots, similarity matrices, and a comparison of all washouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.display.measures import Key, Measures
from bridge.display.plots import heat
from bridge.display.svg import Plot
from bridge.metrics import Metric
from bridge.pipeline.jobs.results import RunFiles
from bridge.report.html.sections import beside_control, scores
from bridge.scorers import MAPPED, MISPAIRED, RANDOM_DIRECTION, Section

MATRICES = {MAPPED: "Through the map", MISPAIRED: "Through the mispaired map", RANDOM_DIRECTION: "Random directions"}
WRITTEN_OUT = 64
"""Maximal number of features for which the similarity matrix is also a table; more would give a page of megabytes."""
CAPTION = "Scores of explanations, with 95% intervals over features"


def transfer(run: RunFiles, metrics: Sequence[Metric], measures: Measures, key: str) -> dict[str, Any]:
    """Arrange the scores of explanations; keys of plots begin with `key`."""
    washouts = list(run.explanations) or [""]
    named: dict[str, list[tuple[Key, Metric]]] = {washout: [] for washout in washouts}
    for metric in metrics:
        name, washout = _base_name(metric.name, washouts)
        named[washout].append(((metric.scorer, name), metric))
    own = [metric for _, metric in named[washouts[0]]]
    listed = {(metric.scorer, metric.name) for metric in own if measures.of(metric).compared}
    compared = [number for number in measures.in_order(own) if number in listed]
    matrix = run.similarity(washouts[0], MAPPED)
    written = [] if matrix is None or len(matrix) > WRITTEN_OUT else matrix.tolist()
    return scores(own, measures, Section.EXPLANATIONS, key, CAPTION) | {
        "washout": washouts[0],
        "matrices": _matrices(run, washouts[0], key),
        "numbers": [one.feature for one in run.explanations[washouts[0]]] if written else [],
        "written": written,
        "washouts": [(washout, beside_control(some, compared)) for washout, some in named.items()],
        "compared": [measures.title(number, own) for number in compared],
    }


def _base_name(name: str, washouts: Sequence[str]) -> tuple[str, str]:
    """Split a metric's name into measure and washout; the run's first washout is not part of names.

    A suffix counts as a washout only if the run has such a washout: `explanation_retrieval@1` is a name.
    """
    for washout in washouts[1:]:
        if name.endswith(f"@{washout}"):
            return name.removesuffix(f"@{washout}"), washout
    return name, washouts[0]


def _matrices(run: RunFiles, washout: str, key: str) -> list[Plot]:
    found = {arm: matrix for arm in MATRICES if (matrix := run.similarity(washout, arm)) is not None}
    ends = (
        min((float(m.min()) for m in found.values()), default=0),
        max((float(m.max()) for m in found.values()), default=1),
    )
    labels = "native text of feature", "foreign text of feature"
    named = enumerate(found.items())
    return [heat(f"{key}-matrix{at}", MATRICES[arm], "", matrix, ends, labels) for at, (arm, matrix) in named]
