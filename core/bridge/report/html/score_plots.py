"""The headlines of some scores as plots."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.metrics import Metric
from bridge.report.html.plots import arms_of
from bridge.report.html.svg import Plot
from bridge.report.measures import Measures


def score_plots(metrics: Sequence[Metric], measures: Measures, key: str) -> list[Plot]:
    """Draw each scorer's headlines, an arm a line; its other numbers are variants, and in the table."""
    plots = []
    for at, number in enumerate(measures.headlines(metrics)):
        some = [metric for metric in metrics if (metric.scorer, metric.name) == number]
        plots.append(arms_of(f"{key}-plot{at}", measures.title(number, metrics), measures.of(some[0]).meaning, some))
    return plots
