"""Exemplars: the places in the corpus where a direction is most active, the way features are usually looked at."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import CorpusError, UsageError
from bridge.geometry import unit_rows
from bridge.hookspecs import hookimpl
from bridge.verbalizers import Explanation, Passage, Subject, Verbalizer, VerbalizerBackend, check_vectors

ALONG_MEAN = 1e-4
"""Minimal share of a vector orthogonal to the mean: a smaller share is rounding, and the vector lies along the mean."""

CHARACTERS_PER_WORD = 12
"""Maximal number of characters per word of an excerpt: some texts have no spaces."""

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Exemplars(VerbalizerBackend):
    """Excerpts of the training texts around the tokens where a vector is most active: one per text, the token in «».

    Activity is the dot product of row and vector, not the cosine: a dictionary's feature also uses the dot product, and
    the passages have no rows of extreme norm. The vector's component along the mean activation is removed first: it is
    most of a whole activation, and not a property of a single text. So a whole activation is read by its difference
    from the mean, and a direction gives the same excerpts alone and added to the mean.

    Attributes:
        top: Number of excerpts.
        width: Words of an excerpt, two thirds of them before the token, because the model had not read later words.
    """

    top: int = 3
    width: int = 12

    name = "exemplars"
    summary = "quotes the texts where a vector is most active; needs no model, only its activations"

    def open(self, subject: Subject) -> Verbalizer:
        """Read the passages once, for their mean.

        Raises:
            UsageError: If the number of excerpts or of words is below 1.
            CorpusError: If there is no passage.
        """
        if self.top < 1 or self.width < 1:
            raise UsageError(
                f"There are no {self.top} excerpts of {self.width} words.", remedy="Give top=1 and width=1, or more."
            )
        total, rows = np.zeros(subject.d_model), 0
        for passage in subject.passages():
            total += passage.x.sum(0, dtype=np.float64)
            rows += len(passage.x)
        if not rows:
            raise CorpusError(f"The corpus has no text for {subject.name} to be verbalized.", remedy="Give more text.")
        return _Reader(subject, total / rows, self.top, self.width)


@final
@dataclass(frozen=True)
class _Place:
    """A token where a vector is active: the activity, and the span of text that ends at the token."""

    value: float
    text: str
    start: int
    end: int


@final
class _Reader(Verbalizer):
    def __init__(self, subject: Subject, mean: NDArray[np.float64], top: int, width: int) -> None:
        self.d_model = subject.d_model
        self._subject, self._mean, self._top, self._width = subject, mean, top, width

    def explain(self, vectors: Floats) -> list[Explanation]:
        """Quote for each vector, (n, d_model) float32, the passages whose activations have the largest dot products."""
        check_vectors(vectors, self.d_model)
        across = self._across_mean(vectors)
        found: list[list[_Place]] = [[] for _ in vectors]
        bar = np.where(across.any(1), -np.inf, np.inf)
        for passage in self._subject.passages() if len(vectors) else ():
            active = passage.x @ across.T
            best = active.argmax(0)
            values = active[best, np.arange(len(best))]
            for index in np.flatnonzero(values > bar):
                place = _place(passage, int(best[index]), float(values[index]))
                found[index] = sorted([*found[index], place], key=lambda one: -one.value)[: self._top]
                if len(found[index]) == self._top:
                    bar[index] = found[index][-1].value
        return [self._say(places) for places in found]

    def _across_mean(self, vectors: Floats) -> Floats:
        """Return vectors without their component along the mean, at unit norm, (n, d_model); zero if none is left."""
        unit, along = unit_rows(vectors), unit_rows(self._mean)
        return unit_rows(unit - (unit @ along)[:, None] * along, ALONG_MEAN).astype(np.float32)

    def _say(self, places: list[_Place]) -> Explanation:
        excerpts = [_excerpt(place, self._width) for place in places]
        return Explanation(" | ".join(excerpts), () if excerpts else ("empty",))


def _place(passage: Passage, row: int, value: float) -> _Place:
    """Return a row as a span of text: from the previous row's end, but at most the word that the row ends in."""
    text, end = passage.document.text, int(passage.ends[row])
    # The previous row may have been left out, or be another byte of the same character.
    before = int(passage.ends[passage.ends < end].max(initial=0))
    word = end - len(re.split(r"\s", text[:end])[-1])
    return _Place(value, text, max(before, word), end)


def _excerpt(place: _Place, width: int) -> str:
    """Return the words around a place, with the place in «»; an empty place is white space."""
    after = width // 3
    before = width - 1 - after
    left = re.findall(r"\S+\s*", place.text[: place.start][-CHARACTERS_PER_WORD * width :])[-before:] if before else []
    right = re.findall(r"\s*\S+", place.text[place.end :][: CHARACTERS_PER_WORD * width])[:after]
    marked = f"{''.join(left)}«{place.text[place.start : place.end]}»{''.join(right)}"
    return " ".join(marked.split())


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer exemplars."""
    register(Exemplars)
