"""Explained features on the terminal: the texts of both verbalizers, and the scores in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.display.measures import Measures
from bridge.metrics import Metric
from bridge.report.table import print_rows
from bridge.scorers import MAPPED, Section
from bridge.terminal import say

if TYPE_CHECKING:
    from bridge.pipeline.verbalize.features import ExplainedFeatures

SHOWN = 8
WIDTH = 100
"""Maximal length of a text on the terminal, in characters; the report has the whole text."""


def print_features(lines: ExplainedFeatures, metrics: Sequence[Metric], measures: Measures) -> None:
    """Print some features under the run's first washout, and the scores of the texts in words."""
    washout, explained = next(iter(lines.explained.items()))
    rows = [
        [str(number), _short(explained.native[row].text), _short(explained.foreign[MAPPED][row].text)]
        for row, number in enumerate(lines.features.numbers[:SHOWN])
    ]
    count = len(lines.features.numbers)
    print_rows(
        ["feature", "the source's own verbalizer", "the destination's, through the map"],
        rows,
        title=f"{min(SHOWN, count)} of {count} features, drawn by seed; washout {washout}",
    )
    for sentence in measures.sentences(metrics, Section.EXPLANATIONS):
        say(sentence)


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= WIDTH else f"{one_line[:WIDTH]}…"
