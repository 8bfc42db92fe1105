"""Feature contexts: the passages in which a feature is most active, and its topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Dictionary
from bridge.pipeline.verbalize.sampling import passage_blocks
from bridge.verbalizers import Passage, Subject

CONTEXTS = 5
BEFORE, AFTER = 120, 60
"""Number of characters kept around the token with the largest activation."""


@final
@dataclass(frozen=True)
class Context:
    """A passage in which a feature is active.

    Attributes:
        text: The passage.
        spans: Start, end (in characters of `text`) and activation of each token on which the feature is active.
    """

    text: str
    spans: list[tuple[int, int, float]]


@final
@dataclass(frozen=True)
class FeatureContexts:
    """The contexts of one feature.

    Attributes:
        contexts: At most five passages of different documents, by decreasing activation.
        topic: The topic with more than half of the feature's activity, or empty.
        share: The share of the most frequent topic in the feature's activity; 0 if documents have no topics.
    """

    contexts: list[Context]
    topic: str
    share: float


def feature_contexts(subject: Subject, dictionary: Dictionary, numbers: NDArray[np.int64]) -> list[FeatureContexts]:
    """Find the contexts of features in one pass over the training documents; one entry per feature of `numbers`."""
    best: list[list[tuple[float, Context]]] = [[] for _ in numbers]
    topics: list[Counter[str]] = [Counter() for _ in numbers]
    for passage, active in _activity(subject, dictionary, numbers):
        for index in np.flatnonzero(active.max(0) > 0).tolist():
            values = active[:, index]
            if passage.document.topic:
                topics[index][passage.document.topic] += float(values.sum())  # type: ignore[assignment]
            strongest, found = float(values.max()), best[index]
            if len(found) < CONTEXTS or strongest > found[-1][0]:
                found.append((strongest, _context(passage, values)))
                found.sort(key=lambda item: -item[0])
                del found[CONTEXTS:]
    return [_summary([context for _, context in found], counted) for found, counted in zip(best, topics, strict=True)]


def _activity(
    subject: Subject, dictionary: Dictionary, numbers: NDArray[np.int64]
) -> Iterator[tuple[Passage, NDArray[np.float32]]]:
    """Yield each training passage with the activations of some features on its rows, (n, features)."""
    for passages, block in passage_blocks(subject):
        active = dictionary.encode(block)[:, numbers]
        yield from zip(passages, np.split(active, np.cumsum([len(one.x) for one in passages[:-1]])), strict=True)


def _context(passage: Passage, values: NDArray[np.float32]) -> Context:
    text, ends = passage.document.text, passage.ends.tolist()
    starts = [0, *ends[:-1]]
    peak = int(values.argmax())
    # The first rows of a text are left out, so the start of the first remaining token is unknown.
    starts[0] = max(0, text.rfind(" ", 0, max(ends[0] - 1, 0)))
    low, high = max(0, ends[peak] - BEFORE), min(len(text), ends[peak] + AFTER)
    spans = [
        (max(start, low) - low, end - low, float(value))
        for start, end, value in zip(starts, ends, values, strict=True)
        if value > 0 and start < end and low < end <= high
    ]
    return Context(text[low:high], spans)


def _summary(contexts: list[Context], topics: Counter[str]) -> FeatureContexts:
    total = sum(topics.values())
    topic, mass = topics.most_common(1)[0] if total else ("", 0)
    share = mass / total if total else 0.0
    return FeatureContexts(contexts, topic if share > 0.5 else "", float(share))
