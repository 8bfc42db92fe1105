"""A run's folder as sections: models and data, the map, the explanations, every feature, and the provenance."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.display.measures import Measures
from bridge.display.tables import in_order
from bridge.display.words import READERS
from bridge.metrics import Metric
from bridge.pipeline.fit.record import CONFIG
from bridge.pipeline.jobs.results import RunFiles
from bridge.report.html.features import features
from bridge.report.html.scorer_plots import scorer_plots
from bridge.report.html.sections import Section, scores
from bridge.report.html.transfer import transfer
from bridge.scorers import MAPPED, NATIVE, SELF
from bridge.scorers import Section as Question

SHOWN, TAIL = 25, 160
"""Maximal number of activations on the page, and of characters before each; a file in the folder has all."""


def run_sections(run: RunFiles, page: Path, measures: Measures, prefix: str = "") -> list[Section]:
    """Return the sections of a run, in order.

    Args:
        run: The files of its folder.
        page: Path of the page; the command that reproduces the run is relative to it.
        measures: Measures of the run's metrics.
        prefix: Prefix of the sections' keys, if a page has several runs.
    """
    found = {question: measures.within(run.metrics, question) for question in Question}
    by_map, dictionary = Question.MAP, Question.DICTIONARY
    of_map = scores(found[by_map], measures, by_map, f"{prefix}map", "Held-out scores, with 95% intervals")
    # Sentences about the map may need all numbers of their scorer.
    of_map |= {
        "sentences": measures.sentences(run.metrics, by_map),
        "failed": run.record.provenance.get("failed_scorers"),
    }
    of_map["own"], of_map["undrawn"] = scorer_plots(run, f"{prefix}map")
    sections = [
        Section(f"{prefix}bridged", "Models and data", "bridged", run.record),
        Section(f"{prefix}map", by_map, "scores", of_map),
    ]
    if found[dictionary]:
        caption = "Held-out scores of the source's dictionary in the destination"
        carried = scores(found[dictionary], measures, dictionary, f"{prefix}dictionary", caption)
        sections.append(Section(f"{prefix}dictionary", dictionary, "scores", carried))
    if texts := found[Question.EXPLANATIONS]:
        data = transfer(run, texts, measures, f"{prefix}explanations")
        sections.append(Section(f"{prefix}explanations", Question.EXPLANATIONS, "transfer", data))
    if run.explanations:
        sections.append(Section(f"{prefix}features", "How is each feature explained?", "features", features(run)))
    if run.positions and (places := found[Question.ACTIVATIONS]):
        data = _positions(run, places, measures, f"{prefix}positions")
        sections.append(Section(f"{prefix}positions", Question.ACTIVATIONS, "positions", data))
    command = f"bridge run {shlex.quote(os.path.relpath(run.folder / CONFIG, page.parent))}"
    origin = Section(f"{prefix}origin", "Provenance", "origin", {"command": command, "run": run})
    return [*sections, origin]


def _positions(run: RunFiles, metrics: Sequence[Metric], measures: Measures, key: str) -> dict[str, Any]:
    arms = in_order(run.positions[0].said, READERS)
    shown = [arm for arm in (NATIVE, MAPPED, SELF) if arm in arms]
    caption = "Scores of readings, with 95% intervals over documents"
    return scores(metrics, measures, Question.ACTIVATIONS, key, caption, READERS) | {
        "shown": run.positions[:SHOWN],
        "count": len(run.positions),
        "arms": shown,
        "others": [arm for arm in arms if arm not in shown],
        "tail": TAIL,
        "topics": any(one.topic for one in run.positions),
    }
