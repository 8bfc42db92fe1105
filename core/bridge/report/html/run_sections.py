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
from bridge.report.html.score_plots import score_plots
from bridge.report.html.scorer_plots import scorer_plots
from bridge.report.html.section import Section
from bridge.report.html.tables import in_order, metric_table
from bridge.report.html.transfer import transfer
from bridge.report.html.words import READERS, dig
from bridge.report.measures import Measures
from bridge.scorers import MAPPED, NATIVE, SELF
from bridge.scorers import Section as Question

SHOWN, TAIL = 25, 160
"""Readings on the page, and characters of the text before each; a file beside it has all of them."""


def run_sections(run: RunFiles, page: Path, measures: Measures, prefix: str = "") -> list[Section]:
    """Return the sections of a run, in the order in which they answer.

    Args:
        run: What its folder holds.
        page: Where the page will lie; the command that reproduces the run is written from there.
        measures: What its numbers are.
        prefix: Of the sections' keys, where a page has several runs.
    """
    of_map, of_dictionary, of_texts, of_places = (
        measures.within(run.metrics, section)
        for section in (Question.MAP, Question.DICTIONARY, Question.EXPLANATIONS, Question.ACTIVATIONS)
    )
    own, undrawn = scorer_plots(run, f"{prefix}map")
    scores = {
        "sentences": measures.sentences(run.metrics, Question.MAP),
        "failed": dig(run.record, "provenance", "failed_scorers") or {},
        "undrawn": undrawn,
        "plots": score_plots(of_map, measures, f"{prefix}map"),
        "own": own,
        "table": metric_table("Held-out scores, with 95% intervals", of_map, measures),
    }
    sections = [
        Section(f"{prefix}bridged", "What was bridged", "bridged", run.record),
        Section(f"{prefix}map", Question.MAP, "scores", scores),
    ]
    if of_dictionary:
        carried = _dictionary(of_dictionary, measures, f"{prefix}dictionary")
        sections.append(Section(f"{prefix}dictionary", Question.DICTIONARY, "scores", carried))
    if of_texts:
        data = transfer(run, of_texts, measures, f"{prefix}explanations")
        sections.append(Section(f"{prefix}explanations", Question.EXPLANATIONS, "transfer", data))
    if run.said:
        sections.append(Section(f"{prefix}features", "What each feature is said to mean", "features", _features(run)))
    if of_places and run.positions:
        places = _places(run, of_places, measures, f"{prefix}positions")
        sections.append(Section(f"{prefix}positions", Question.ACTIVATIONS, "positions", places))
    return [*sections, Section(f"{prefix}origin", "Where this comes from", "origin", _origin(run, page))]


def _dictionary(metrics: Sequence[Metric], measures: Measures, key: str) -> dict[str, Any]:
    table = metric_table("Held-out scores of the source's dictionary in the destination", metrics, measures)
    nothing: dict[str, Any] = {"failed": {}, "undrawn": {}, "own": []}
    sentences = measures.sentences(metrics, Question.DICTIONARY)
    return nothing | {"sentences": sentences, "plots": score_plots(metrics, measures, key), "table": table}


def _features(run: RunFiles) -> dict[str, Any]:
    found = features(run.said, run.similarity, run.where)
    topics = any(feature.topic for feature in found)
    scored = found[0].similarity is not None
    return {"washout": next(iter(run.said)), "features": found, "scored": scored, "topics": topics}


def _places(run: RunFiles, metrics: Sequence[Metric], measures: Measures, key: str) -> dict[str, Any]:
    arms = in_order(run.positions[0].said, READERS)
    shown = [arm for arm in (NATIVE, MAPPED, SELF) if arm in arms]
    return {
        "sentences": measures.sentences(metrics, Question.ACTIVATIONS),
        "plots": score_plots(metrics, measures, key),
        "table": metric_table("Scores of readings, with 95% intervals over documents", metrics, measures, READERS),
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
