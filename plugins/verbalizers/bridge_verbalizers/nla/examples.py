"""What an activation verbalizer is trained on: activations, and features mixed into the mean, with the text before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Dictionary
from bridge.errors import CorpusError
from bridge.features import features_for
from bridge.reservoir import Reservoir
from bridge.verbalizers import Passage, Recipe, Subject

TOP = 16
"""Rows kept for a feature: those where it is most active."""

STRENGTH = (0.5, 4.0)
"""How many times its largest activation a feature is mixed in with; drawn uniformly."""

HELD_OUT = 256
"""Examples that the loss is measured on."""

Floats = NDArray[np.float32]
Say = Callable[[Passage, int], str]


@final
@dataclass(frozen=True)
class Examples:
    """Vectors and the text that led to them.

    Attributes:
        x: (n, d_model) float32.
        texts: What is to be said of each, n strings.
    """

    x: Floats
    texts: list[str]


@final
@dataclass(frozen=True)
class TrainingSet:
    """Examples of two kinds, drawn from training documents, and activations of held-out ones.

    Attributes:
        rows: Activations.
        features: Features mixed into the mean activation; empty without a dictionary.
        held_out: Activations of held-out documents.
        mean: Mean activation of the training documents, (d_model,) float32.
        scale: Mean norm of the activations.
    """

    rows: Examples
    features: Examples
    held_out: Examples
    mean: Floats
    scale: float


def gather_examples(subject: Subject, recipe: Recipe) -> TrainingSet:
    """Draw the examples; one pass over the training documents, one over the held-out ones.

    Args:
        subject: The model and its texts.
        recipe: How many are needed, and what is to be said of them. The training features of its dictionary become
            examples too, each by the rows where it is most active.

    Raises:
        CorpusError: If there is no text long enough, or a document without the topic that is to be said.
    """
    count, seed, say = recipe.steps * recipe.batch, subject.seed, partial(text_before, recipe)
    draw, top = _Drawn(count, seed, say), _TopRows(recipe.dictionary, say) if recipe.dictionary else None
    total, norm, rows = np.zeros(subject.d_model), 0.0, 0
    for passage in subject.passages():
        total += passage.x.sum(0, dtype=np.float64)
        norm += float(np.linalg.norm(passage.x, axis=1).sum())
        rows += len(passage.x)
        draw.see(passage)
        if top:
            top.see(passage)
    held_out = _Drawn(HELD_OUT, seed + 1, say)
    for passage in subject.passages(held_out=True):
        held_out.see(passage)
    if not rows or not held_out.kept:
        raise CorpusError(f"The corpus has no text for {subject.name} to be verbalized.", remedy="Give more text.")
    mean = (total / rows).astype(np.float32)
    features = top.examples(mean, count, seed) if top else Examples(np.empty((0, subject.d_model), np.float32), [])
    return TrainingSet(draw.examples(), features, held_out.examples(), mean, norm / rows)


def text_before(recipe: Recipe, passage: Passage, row: int) -> str:
    """Return the last characters of the text up to and with a row's token, from a whole word on; its topic first.

    Raises:
        CorpusError: If the topic is to be said, and the document has none.
    """
    characters = recipe.characters
    text = passage.document.text[: passage.ends[row]]
    tail = text[-characters:]
    if len(tail) < len(text) and not text[-characters - 1].isspace():
        tail = tail.partition(" ")[2] or tail
    tail_text = " ".join(tail.split())
    if not recipe.topics:
        return tail_text
    if not passage.document.topic:
        raise CorpusError(
            f"The document {passage.document.text[:60]!r} carries no topic.",
            remedy='Give JSON Lines of {"text": "...", "topic": "..."}, or train without --topics.',
        )
    return f"{passage.document.topic}. {tail_text}"


@final
class _Drawn:
    """Keeps a uniform sample of rows, and what is to be said of them."""

    def __init__(self, count: int, seed: int, say: Say) -> None:
        self._count, self._draw, self._say = count, Reservoir(count, seed), say
        self.kept: list[tuple[Floats, str]] = []

    def see(self, passage: Passage) -> None:
        for row in self._draw.admit(len(passage.x)).tolist():
            self.kept.append((passage.x[row].copy(), self._say(passage, row)))
        # Not at every passage: sorting would take longer than all else.
        if self._draw.excess >= self._count:
            self.kept = [self.kept[index] for index in self._draw.trim()]

    def examples(self) -> Examples:
        self.kept = [self.kept[index] for index in self._draw.trim()]
        chosen = [self.kept[index] for index in self._draw.shuffled()]
        return Examples(np.stack([x for x, _ in chosen]), [text for _, text in chosen])


@final
class _TopRows:
    """Keeps, for every training feature, the texts where it is most active."""

    def __init__(self, dictionary: Dictionary, say: Say) -> None:
        self._dictionary, self._say = dictionary, say
        self._features = np.flatnonzero(features_for("training", len(dictionary.directions)))
        self._value = np.zeros((len(self._features), TOP), np.float32)
        self._text: list[list[str]] = [[""] * TOP for _ in self._features]

    def see(self, passage: Passage) -> None:
        active = self._dictionary.encode(passage.x)[:, self._features]
        best = active.argmax(0)
        # One row a document: a feature's examples should be as many texts, not one text many times.
        values = active[best, np.arange(len(best))]
        for at in np.flatnonzero(values > self._value.min(1)):
            slot = int(self._value[at].argmin())
            self._value[at, slot] = values[at]
            self._text[at][slot] = self._say(passage, int(best[at]))

    def examples(self, mean: Floats, count: int, seed: int) -> Examples:
        """Mix features into the mean; each feature equally often."""
        rng = np.random.default_rng(seed)
        chosen = list(_cycle(np.flatnonzero(self._value.min(1) > 0), count, rng))
        slots = rng.integers(TOP, size=len(chosen))
        strength = rng.uniform(*STRENGTH, size=len(chosen)) * self._value[chosen].max(1)
        directions = self._dictionary.directions[self._features[chosen]]
        x = (mean + strength[:, None] * directions).astype(np.float32)
        return Examples(x, [self._text[feature][slot] for feature, slot in zip(chosen, slots, strict=True)])


def _cycle(features: NDArray[np.intp], count: int, rng: np.random.Generator) -> Iterator[int]:
    """Yield features in a new random order again and again, `count` in all."""
    given = 0
    while given < count and len(features):
        for feature in rng.permutation(features)[: count - given]:
            yield int(feature)
            given += 1
