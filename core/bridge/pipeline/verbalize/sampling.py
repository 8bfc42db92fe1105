"""The explained directions: decoder rows of features drawn by seed, scaled to their activations in real text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Dictionary
from bridge.errors import CorpusError, UsageError
from bridge.features import Use, features_for
from bridge.reservoir import Reservoir
from bridge.verbalizers import Background, Passage, Subject

ALIVE = 10
"""Minimal number of training rows on which a drawn feature is active."""

BACKGROUND_ROWS = 64
ROWS_PER_BLOCK = 4096


@final
@dataclass(frozen=True)
class Features:
    """Decoder rows of chosen features.

    Attributes:
        numbers: Numbers of the features, (n,) int64, increasing.
        vectors: Each feature's contribution to the activation where it is most active, (n, d_model) float32.
        alive: Number of alive features that they were drawn from.
        use: The use of the features, as in `bridge.features`.
    """

    numbers: NDArray[np.int64]
    vectors: NDArray[np.float32]
    alive: int
    use: Use


def draw_features(subject: Subject, dictionary: Dictionary, count: int, seed: int, use: Use) -> Features:
    """Draw features uniformly by seed from the features that are alive on the training documents.

    Raises:
        UsageError: If fewer features than `count` are alive.
    """
    largest = np.zeros(len(dictionary.directions), np.float32)
    active = np.zeros(len(largest), np.int64)
    for _, block in passage_blocks(subject):
        values = dictionary.encode(block)
        np.maximum(largest, values.max(0), out=largest)
        active += (values > 0).sum(0)
    eligible = np.flatnonzero((active >= ALIVE) & features_for(use, len(active)))
    if len(eligible) < count:
        raise UsageError(
            f"Only {len(eligible)} of the dictionary's {use} features are alive here; {count} were requested.",
            cause="A feature counts as alive if it is active on ten tokens of the training documents.",
            remedy="Lower --features, or give more text.",
        )
    numbers = np.sort(np.random.default_rng(seed).choice(eligible, count, replace=False))
    vectors = dictionary.directions[numbers] * largest[numbers, None]
    return Features(numbers, vectors.astype(np.float32), len(eligible), use)


def background_of(subject: Subject, seed: int) -> Background:
    """Return the mean of a subject's training rows, and some rows drawn by seed.

    Raises:
        CorpusError: If there are no rows.
    """
    draw, kept = Reservoir(BACKGROUND_ROWS, seed), np.empty((0, subject.d_model), np.float32)
    total, count = np.zeros(subject.d_model), 0
    for _, block in passage_blocks(subject):
        total += block.sum(0, dtype=np.float64)
        count += len(block)
        kept = np.concatenate([kept, block[draw.admit(len(block))]])[draw.trim()]
    if not count:
        raise CorpusError(
            f"The training documents have no tokens of {subject.name} for a mean activation.",
            cause="Every document is shorter than the number of tokens left out at its start.",
            remedy="Give longer texts, or lower --skip.",
        )
    return Background((total / count).astype(np.float32), kept[draw.shuffled()])


def passage_blocks(subject: Subject) -> Iterator[tuple[list[Passage], NDArray[np.float32]]]:
    """Yield blocks of training passages with some thousands of rows, and these rows, (n, d_model) float32."""
    held: list[Passage] = []
    for passage in subject.passages():
        held.append(passage)
        if sum(len(one.x) for one in held) >= ROWS_PER_BLOCK:
            yield held, np.concatenate([one.x for one in held])
            held = []
    if held:
        yield held, np.concatenate([one.x for one in held])
