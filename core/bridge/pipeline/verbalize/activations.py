"""Explanations of both models' live activations at the same positions of held-out texts."""

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
from bridge.pipeline.verbalize.divided import DividedVerbalizer
from bridge.pipeline.verbalize.records import PositionRecord
from bridge.pipeline.verbalize.round_trip import rebuilt_from
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.scorers import NATIVE, SELF, ArmExplanations, ExplainedActivations
from bridge.verbalizers import Explanation, Subject

Float32 = NDArray[np.float32]
Place = tuple[str, int]
"""A text, and the end of a token in it."""


@final
@dataclass(frozen=True)
class Positions:
    """Drawn positions of held-out documents, and both models' activations there.

    Attributes:
        texts: The text up to each position, n strings.
        topics: Topic of each position's document, n strings.
        document: Index of each position's document group, (n,) int64.
        x: The source's activations, (n, d_src) float32.
        y: The destination's, (n, d_dst) float32.
    """

    texts: list[str]
    topics: list[str]
    document: NDArray[np.int64]
    x: Float32
    y: Float32


def draw_positions(src: Subject, dst: Subject, count: int, seed: int) -> Positions:
    """Draw positions uniformly by seed from those where a word and a token of each model end.

    Raises:
        CorpusError: If there is no such position.
    """
    about: dict[str, tuple[str, str]] = {}
    ends: list[set[Place]] = [set(), set()]
    for subject, found in zip((src, dst), ends, strict=True):
        for passage in subject.passages(held_out=True):
            text = passage.document.text
            about[text] = (passage.document.group, passage.document.topic)
            # Only ends of words, so that the last word does not depend on a tokenizer.
            found |= {(text, end) for end in passage.ends.tolist() if re.match(r"\W|$", text[end:])}
    both = sorted(ends[0] & ends[1])
    if not both:
        raise CorpusError("The held-out documents have no position where a word and a token of both models end.")
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
    """Draws positions, and explains their activations.

    Args:
        count: Number of positions.
        training: The training data of the map, which gives the means.
        arms: The fitted map and its controls.
        back: The reverse map of each arm.
        subjects: Source and destination.
        seed: Seed of the draw.
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

    def ask_source(self, verbalizer: DividedVerbalizer) -> None:
        """Explain the source's activations with its own verbalizer."""
        name, x = self._subjects[0].name, self._drawn.x
        explanations = self._explain(verbalizer, {NATIVE: x}, name)[NATIVE]
        self._read[NATIVE] = ArmExplanations(
            explanations, x, rebuilt_from(verbalizer, explanations, x, name), self._means[0]
        )

    def ask_destination(self, verbalizer: DividedVerbalizer) -> None:
        """Explain the destination's activations, and the source's moved by every map, with the given verbalizer."""
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
        """Return the explanations."""
        drawn = self._drawn
        return ExplainedActivations(drawn.texts, drawn.topics, drawn.document, self._read)

    def _explain(
        self, verbalizer: DividedVerbalizer, by_arm: Mapping[str, Float32], name: str
    ) -> dict[str, list[Explanation]]:
        vectors, count = np.concatenate(list(by_arm.values())), len(self._drawn.x)
        stage = self._runtime.progress.stage(f"explain by {name}", len(vectors), "activations")
        with stage as advance, verbalizer.counted(advance):
            explanations = verbalizer.explain(vectors)
        return {arm: explanations[i * count : (i + 1) * count] for i, arm in enumerate(by_arm)}


def reading_records(readings: ExplainedActivations) -> list[PositionRecord]:
    """Return one record per position: its text and topic, and the explanation of every arm."""
    return [
        PositionRecord(text, topic, {arm: reading.explanations[row] for arm, reading in readings.arms.items()})
        for row, (text, topic) in enumerate(zip(readings.texts, readings.topics, strict=True))
    ]
