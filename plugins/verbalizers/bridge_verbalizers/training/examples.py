"""Training data of an activation verbalizer: activations, and features added to the mean, with the text before."""

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
from bridge.verbalizers import Passage, Recipe, Subject
from bridge_verbalizers.training.drawn import Drawn

TOP = 16
"""Number of rows kept for a feature: the rows where the feature is most active."""

STRENGTH = (0.5, 4.0)
"""Range of a feature's strength in the mix, relative to its largest activation; drawn uniformly."""

HELD_OUT = 256
"""Number of examples on which the loss is measured."""

Floats = NDArray[np.float32]
Say = Callable[[Passage, int], str]


@final
@dataclass(frozen=True)
class Examples:
    """Vectors, each with the text before it.

    Attributes:
        x: (n, d_model) float32.
        texts: The target text of each, n strings.
    """

    x: Floats
    texts: list[str]


@final
@dataclass(frozen=True)
class TrainingSet:
    """Examples of two kinds from training documents, and activations of held-out documents.

    Attributes:
        rows: Activations.
        features: Features added to the mean activation; empty without a dictionary.
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
    """Draw the examples, in one pass over the training documents and one pass over the held-out documents.

    Args:
        subject: The model and its texts.
        recipe: The number of examples and the form of their texts. The training features of its dictionary also
            become examples, each with the rows where it is most active.

    Raises:
        CorpusError: If no text is long enough, or a document does not have the topic that the recipe needs.
    """
    count, seed, say = recipe.steps * recipe.batch, subject.seed, partial(text_before, recipe)

    def keep(passage: Passage, row: int) -> tuple[Floats, str]:
        return passage.x[row].copy(), say(passage, row)

    draw, held_out = Drawn(count, seed, keep), Drawn(HELD_OUT, seed + 1, keep)
    top = _TopRows(recipe.dictionary, say) if recipe.dictionary else None
    total, norm, rows = np.zeros(subject.d_model), 0.0, 0
    for passage in subject.passages():
        total += passage.x.sum(0, dtype=np.float64)
        norm += float(np.linalg.norm(passage.x, axis=1).sum())
        rows += len(passage.x)
        draw.see(passage)
        if top:
            top.see(passage)
    for passage in subject.passages(held_out=True):
        held_out.see(passage)
    tested = held_out.examples()
    if not rows or not tested:
        raise CorpusError(f"The corpus has no text for {subject.name} to be verbalized.", remedy="Give more text.")
    mean = (total / rows).astype(np.float32)
    features = top.examples(mean, count, seed) if top else Examples(np.empty((0, subject.d_model), np.float32), [])
    return TrainingSet(_together(draw.examples()), features, _together(tested), mean, norm / rows)


def _together(kept: list[tuple[Floats, str]]) -> Examples:
    return Examples(np.stack([x for x, _ in kept]), [text for _, text in kept])


def text_before(recipe: Recipe, passage: Passage, row: int) -> str:
    """Return the last characters of the text up to and including a row's token, from a word's start; the topic first.

    Raises:
        CorpusError: If the recipe needs the topic, and the document has none.
    """
    characters = recipe.characters
    text = passage.document.text[: passage.ends[row]]
    tail = text[-characters:]
    if len(tail) < len(text) and not text[-characters - 1].isspace():
        tail = tail.partition(" ")[2] or tail
    tail_text = " ".join(tail.split())
    if not recipe.topics:
        return tail_text
    return f"{topic_of(passage)}. {tail_text}"


def topic_of(passage: Passage) -> str:
    """Return the topic of a passage's document.

    Raises:
        CorpusError: If it has none.
    """
    if not passage.document.topic:
        raise CorpusError(
            f"The document {passage.document.text[:60]!r} carries no topic.",
            remedy='Give JSON Lines of {"text": "...", "topic": "..."}, or train without --topics.',
        )
    return passage.document.topic


@final
class _TopRows:
    """Keeps the texts where each training feature is most active."""

    def __init__(self, dictionary: Dictionary, say: Say) -> None:
        self._dictionary, self._say = dictionary, say
        self._features = np.flatnonzero(features_for("training", len(dictionary.directions)))
        self._value = np.zeros((len(self._features), TOP), np.float32)
        self._text: list[list[str]] = [[""] * TOP for _ in self._features]

    def see(self, passage: Passage) -> None:
        active = self._dictionary.encode(passage.x)[:, self._features]
        best = active.argmax(0)
        # One row per document: a feature's examples should be different texts, not one text many times.
        values = active[best, np.arange(len(best))]
        for at in np.flatnonzero(values > self._value.min(1)):
            slot = int(self._value[at].argmin())
            self._value[at, slot] = values[at]
            self._text[at][slot] = self._say(passage, int(best[at]))

    def examples(self, mean: Floats, count: int, seed: int) -> Examples:
        """Add features to the mean, each feature equally often."""
        rng = np.random.default_rng(seed)
        chosen = list(_cycle(np.flatnonzero(self._value.min(1) > 0), count, rng))
        slots = rng.integers(TOP, size=len(chosen))
        strength = rng.uniform(*STRENGTH, size=len(chosen)) * self._value[chosen].max(1)
        directions = self._dictionary.directions[self._features[chosen]]
        x = (mean + strength[:, None] * directions).astype(np.float32)
        return Examples(x, [self._text[feature][slot] for feature, slot in zip(chosen, slots, strict=True)])


def _cycle(features: NDArray[np.intp], count: int, rng: np.random.Generator) -> Iterator[int]:
    """Yield `count` features in repeated passes, each in a new random order."""
    given = 0
    while given < count and len(features):
        for feature in rng.permutation(features)[: count - given]:
            yield int(feature)
            given += 1
