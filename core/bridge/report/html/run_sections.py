"""A run's folder as sections: what was bridged, the map, the explanations, every feature, and where it comes from."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.metrics import Metric
from bridge.pipeline.jobs.folder import CONFIG
from bridge.report.html.features import features
from bridge.report.html.inputs import RunFiles
from bridge.report.html.plots import arms_of
from bridge.report.html.scorer_plots import scorer_plots
from bridge.report.html.section import Section
from bridge.report.html.svg import Plot
from bridge.report.html.tables import in_order, metric_table
from bridge.report.html.transfer import EXPLAINING, transfer
from bridge.report.html.words import METRICS, READERS, dig
from bridge.report.readings import SCORERS, reading_sentences
from bridge.report.table import sentences
from bridge.scorers import MAPPED, NATIVE, SELF

READING = frozenset(SCORERS)
DICTIONARIES = frozenset({"sae_transfer", "decoder_match", "firing", "loss_recovered"})
SHOWN, TAIL = 25, 160
"""Readings on the page, and characters of the text before each; a file beside it has all of them."""


def run_sections(run: RunFiles, page: Path, prefix: str = "") -> list[Section]:
    """Return the sections of a run, in the order in which they answer.

    Args:
        run: What its folder holds.
        page: Where the page will lie; the command that reproduces the run is written from there.
        prefix: Of the sections' keys, where a page has several runs.
    """
    of_texts = [metric for metric in run.metrics if metric.scorer in EXPLAINING]
    of_places = [metric for metric in run.metrics if metric.scorer in READING]
    of_dictionary = [metric for metric in run.metrics if metric.scorer in DICTIONARIES]
    of_map = [one for one in run.metrics if one.scorer not in EXPLAINING | READING | DICTIONARIES]
    own, undrawn = scorer_plots(run, f"{prefix}map")
    scores = {
        "sentences": sentences(run.metrics),
        "failed": dig(run.record, "provenance", "failed_scorers") or {},
        "undrawn": undrawn,
        "plots": _score_plots(of_map, f"{prefix}map"),
        "own": own,
        "table": metric_table("Held-out scores, with 95% intervals", of_map),
    }
    sections = [
        Section(f"{prefix}bridged", "What was bridged", "bridged", run.record),
        Section(f"{prefix}map", "Does the map work?", "scores", scores),
    ]
    if of_dictionary:
        carried = _dictionary(of_dictionary, f"{prefix}dictionary")
        sections.append(Section(f"{prefix}dictionary", "Does the dictionary carry over?", "scores", carried))
    if of_texts:
        data = transfer(run, of_texts, f"{prefix}explanations")
        sections.append(Section(f"{prefix}explanations", "Do explanations transfer?", "transfer", data))
    if run.said:
        sections.append(Section(f"{prefix}features", "What each feature is said to mean", "features", _features(run)))
    if of_places and run.positions:
        places = _places(run, of_places, f"{prefix}positions")
        sections.append(Section(f"{prefix}positions", "What live activations are said to mean", "positions", places))
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


def _dictionary(metrics: Sequence[Metric], key: str) -> dict[str, Any]:
    table = metric_table("Held-out scores of the source's dictionary in the destination", metrics)
    nothing: dict[str, Any] = {"sentences": [], "failed": {}, "undrawn": {}, "own": []}
    return nothing | {"plots": _score_plots(metrics, key), "table": table}


def _features(run: RunFiles) -> dict[str, Any]:
    found = features(run.said, run.similarity, run.where)
    topics = any(feature.topic for feature in found)
    scored = found[0].similarity is not None
    return {"washout": next(iter(run.said)), "features": found, "scored": scored, "topics": topics}


def _places(run: RunFiles, metrics: Sequence[Metric], key: str) -> dict[str, Any]:
    arms = in_order(run.positions[0].said, READERS)
    shown = [arm for arm in (NATIVE, MAPPED, SELF) if arm in arms]
    return {
        "sentences": reading_sentences(metrics),
        "plots": _score_plots(metrics, key),
        "table": metric_table("Scores of readings, with 95% intervals over documents", metrics, READERS),
        "shown": run.positions[:SHOWN],
        "count": len(run.positions),
        "arms": shown,
        "others": [arm for arm in arms if arm not in shown],
        "tail": TAIL,
        "topics": any(one.topic for one in run.positions),
    }


def _origin(run: RunFiles, page: Path) -> dict[str, Any]:
    path = os.path.relpath(run.folder / CONFIG, page.parent)
    command = f"bridge run {shlex.quote(path)}"
    return {"command": command, "config": run.config, "record": run.record, "metrics": run.metrics}
