"""Live activations at the same places of held-out texts in both models, read by each one's verbalizer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import CorpusError
from bridge.maps import FittedMap, TrainingData
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.verbalize.cache import parts
from bridge.pipeline.verbalize.records import PositionRecord
from bridge.pipeline.verbalize.round_trip import rebuilt_from
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.scorers import NATIVE, SELF, ArmExplanations, ExplainedActivations
from bridge.verbalizers import Explanation, Subject, Verbalizer

Float32 = NDArray[np.float32]
Place = tuple[str, int]
"""A text, and where in it a token ends."""


@final
@dataclass(frozen=True)
class Positions:
    """Places of held-out documents that were drawn, and both models' activations there.

    Attributes:
        texts: The text up to each place, n strings.
        topics: What its document is about, n strings.
        document: Index of its document group, (n,) int64.
        x: The source's activations, (n, d_src) float32.
        y: The destination's, (n, d_dst) float32.
    """

    texts: list[str]
    topics: list[str]
    document: NDArray[np.int64]
    x: Float32
    y: Float32


def draw_positions(src: Subject, dst: Subject, count: int, seed: int) -> Positions:
    """Draw places uniformly by seed from those where a word ends, and a token of both models.

    Raises:
        CorpusError: If there is none.
    """
    about: dict[str, tuple[str, str]] = {}
    ends: list[set[Place]] = [set(), set()]
    for subject, found in zip((src, dst), ends, strict=True):
        for passage in subject.passages(held_out=True):
            text = passage.document.text
            about[text] = (passage.document.group, passage.document.topic)
            # Whole words only: which one comes last must not depend on a tokenizer.
            found |= {(text, end) for end in passage.ends.tolist() if re.match(r"\W|$", text[end:])}
    both = sorted(ends[0] & ends[1])
    if not both:
        raise CorpusError("The held-out documents have no place where both models end a word.")
    chosen = [both[i] for i in np.random.default_rng(seed).permutation(len(both))[:count]]
    groups = {group: index for index, group in enumerate(dict.fromkeys(about[text][0] for text, _ in chosen))}
    return Positions(
        [text[:end] for text, end in chosen],
        [about[text][1] for text, _ in chosen],
        np.array([groups[about[text][0]] for text, _ in chosen]),
        _rows_at(src, chosen),
        _rows_at(dst, chosen),
    )


def _rows_at(subject: Subject, chosen: Sequence[Place]) -> Float32:
    wanted = {place: index for index, place in enumerate(chosen)}
    rows = np.empty((len(chosen), subject.d_model), np.float32)
    for passage in subject.passages(held_out=True):
        for end, x in zip(passage.ends.tolist(), passage.x, strict=True):
            if (index := wanted.get((passage.document.text, end))) is not None:
                rows[index] = x
    return rows


@final
class ReadingJob:
    """Draws positions, and has their activations read.

    Args:
        count: How many are drawn.
        training: What the map was fitted on; gives the means.
        arms: The fitted map and its controls.
        back: For each arm the map from the destination to the source.
        subjects: Source and destination.
        seed: Of the draw.
        runtime: Progress.

    Raises:
        CorpusError: If there are no positions.
    """

    def __init__(
        self,
        count: int,
        training: TrainingData,
        arms: Mapping[str, FittedMap],
        back: Mapping[str, FittedMap],
        subjects: tuple[ModelSubject, ModelSubject],
        seed: int,
        runtime: Runtime,
    ) -> None:
        self._drawn = draw_positions(*subjects, count, seed)
        self._means = training.moments.mean_x, training.moments.mean_y
        self._arms, self._back, self._subjects, self._runtime = arms, back, subjects, runtime
        self._read: dict[str, ArmExplanations] = {}

    def ask_source(self, verbalizer: Verbalizer) -> None:
        """Have the source's activations read by its own verbalizer."""
        name, x = self._subjects[0].name, self._drawn.x
        explanations = self._explain(verbalizer, {NATIVE: x}, name)[NATIVE]
        self._read[NATIVE] = ArmExplanations(
            explanations, x, rebuilt_from(verbalizer, explanations, x, name), self._means[0]
        )

    def ask_destination(self, verbalizer: Verbalizer) -> None:
        """Have the destination's own, and the source's moved by every map, read by the destination's verbalizer."""
        name, x, y = self._subjects[1].name, self._drawn.x, self._drawn.y
        moved = {arm: there(x).astype(np.float32) for arm, there in self._arms.items()}
        explanations = self._explain(verbalizer, {SELF: y} | moved, name)
        self._read[SELF] = ArmExplanations(
            explanations[SELF], y, rebuilt_from(verbalizer, explanations[SELF], y, name), self._means[1]
        )
        for arm, points in moved.items():
            rebuilt = rebuilt_from(verbalizer, explanations[arm], points, name) if arm in self._back else None
            came_back = None if rebuilt is None else self._back[arm](rebuilt).astype(np.float32)
            self._read[arm] = ArmExplanations(explanations[arm], x, came_back, self._means[0])

    def result(self) -> ExplainedActivations:
        """Return what was said."""
        drawn = self._drawn
        return ExplainedActivations(drawn.texts, drawn.topics, drawn.document, self._read)

    def _explain(
        self, verbalizer: Verbalizer, by_arm: Mapping[str, Float32], name: str
    ) -> dict[str, list[Explanation]]:
        vectors, count = np.concatenate(list(by_arm.values())), len(self._drawn.x)
        explanations: list[Explanation] = []
        with self._runtime.progress.stage(f"read by {name}", len(vectors), "activations") as advance:
            for part in parts(len(vectors), verbalizer.at_once):
                explanations += verbalizer.explain(vectors[part])
                advance(len(vectors[part]))
        return {arm: explanations[i * count : (i + 1) * count] for i, arm in enumerate(by_arm)}


def reading_records(readings: ExplainedActivations) -> list[PositionRecord]:
    """Return one record a position: its text and topic, and what every arm says."""
    return [
        PositionRecord(text, topic, {arm: reading.explanations[row] for arm, reading in readings.arms.items()})
        for row, (text, topic) in enumerate(zip(readings.texts, readings.topics, strict=True))
    ]
