"""Live activations on the terminal: the scorers' sentences about their explanations."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.display.measures import Measures
from bridge.metrics import Metric
from bridge.report.table import say
from bridge.scorers import Section


def print_readings(metrics: Sequence[Metric], measures: Measures) -> None:
    """Print the scores of explained activations in words, if there are any."""
    for sentence in measures.sentences(metrics, Section.ACTIVATIONS):
        say(sentence)
