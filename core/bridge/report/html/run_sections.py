"""A run's folder as sections: what was bridged, the map, the explanations, every feature, and where it comes from."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.metrics import Metric
from bridge.pipeline.folder import CONFIG
from bridge.report.html.features import features
from bridge.report.html.inputs import RunFiles
from bridge.report.html.plots import arms_of
from bridge.report.html.section import Section
from bridge.report.html.svg import Plot
from bridge.report.html.tables import in_order, metric_table
from bridge.report.html.transfer import LIFT, transfer
from bridge.report.html.words import METRICS, dig
from bridge.report.table import sentences


def run_sections(run: RunFiles, page: Path, prefix: str = "") -> list[Section]:
    """Return the sections of a run, in the order in which they answer.

    Args:
        run: What its folder holds.
        page: Where the page will lie; the command that reproduces the run is written from there.
        prefix: Of the sections' keys, where a page has several runs.
    """
    of_map = [metric for metric in run.metrics if metric.scorer != LIFT]
    of_texts = [metric for metric in run.metrics if metric.scorer == LIFT]
    scores = {
        "sentences": sentences(run.metrics),
        "failed": dig(run.record, "provenance", "failed_scorers") or {},
        "plots": _score_plots(of_map, f"{prefix}map"),
        "table": metric_table("Held-out scores, with 95% intervals", of_map),
    }
    sections = [
        Section(f"{prefix}bridged", "What was bridged", "bridged", run.record),
        Section(f"{prefix}map", "Does the map work?", "scores", scores),
    ]
    if of_texts:
        data = transfer(run, of_texts, f"{prefix}explanations")
        sections.append(Section(f"{prefix}explanations", "Do explanations transfer?", "transfer", data))
    if run.said:
        sections.append(Section(f"{prefix}features", "What each feature is said to mean", "features", _features(run)))
    return [*sections, Section(f"{prefix}origin", "Where this comes from", "origin", _origin(run, page))]


def _score_plots(metrics: Sequence[Metric], key: str) -> list[Plot]:
    """Draw each scorer's first metric; its other ones are variants, and in the table."""
    first = {metric.scorer: metric.name for metric in reversed(metrics)}
    by = {name: scorer for scorer, name in first.items()}
    headlines = [
        [metric for metric in metrics if (metric.scorer, metric.name) == (by[name], name)]
        for name in in_order(by, METRICS)
    ]
    return [
        arms_of(f"{key}-plot{at}", some[0].name, METRICS.get(some[0].name, ""), some)
        for at, some in enumerate(headlines)
    ]


def _features(run: RunFiles) -> dict[str, Any]:
    found = features(run.said, run.similarity)
    return {"washout": next(iter(run.said)), "features": found, "scored": found[0].similarity is not None}


def _origin(run: RunFiles, page: Path) -> dict[str, Any]:
    path = os.path.relpath(run.folder / CONFIG, page.parent)
    command = f"bridge run {shlex.quote(path)}"
    return {"command": command, "config": run.config, "record": run.record, "metrics": run.metrics}
