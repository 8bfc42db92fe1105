"""The places in the texts where vectors are most active, as excerpts for a reader."""

from __future__ import annotations

import re
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import CorpusError
from bridge.verbalizers import Passage, Subject

Floats = NDArray[np.float32]

BEFORE, AFTER = 160, 50
"""Characters of an excerpt around its place: what comes after, the model had not seen."""

ALONG_MEAN = 1e-4
"""A vector with a smaller share than this across the mean lies along it: the rest is rounding."""


@final
class Excerpts:
    """Finds the texts with the largest dot products of activation and vector, one excerpt a text.

    A vector's component along the mean activation is left out first: it is nearly all of a whole activation, and no
    property of a single text.

    Args:
        subject: The model whose activations they are.
        count: How many excerpts a vector gets.

    Raises:
        CorpusError: If there is no text.
    """

    def __init__(self, subject: Subject, count: int) -> None:
        self.d_model, self._subject, self._count = subject.d_model, subject, count
        total, rows = np.zeros(subject.d_model), 0
        for passage in subject.passages():
            total += passage.x.sum(0, dtype=np.float64)
            rows += len(passage.x)
        if not rows:
            raise CorpusError(f"There is no text that {subject.name} was run on.", remedy="Give more text.")
        self._mean = total / max(float(np.linalg.norm(total)), np.finfo(float).tiny)

    def of(self, vectors: Floats) -> list[list[str]]:
        """Go through the texts once, for all vectors, (n, d_model).

        Returns:
            The excerpts of each, the most active first; none for a vector along the mean.
        """
        across = self._across_mean(vectors)
        found: list[list[tuple[float, str]]] = [[] for _ in vectors]
        for passage in self._subject.passages() if len(vectors) else ():
            active = passage.x @ across.T
            for index in np.flatnonzero(across.any(1)):
                row = int(active[:, index].argmax())
                value, best = float(active[row, index]), found[index]
                if len(best) < self._count or value > best[-1][0]:
                    best.append((value, excerpt(passage, row)))
                    found[index] = sorted(best, key=lambda one: -one[0])[: self._count]
        return [[text for _, text in best] for best in found]

    def _across_mean(self, vectors: Floats) -> Floats:
        """Return vectors without their component along the mean, unit length; zero where none is left: (n, d_model)."""
        v = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        v -= np.outer(v @ self._mean, self._mean)
        length = np.linalg.norm(v, axis=1, keepdims=True)
        return np.where(length > ALONG_MEAN, v / np.maximum(length, ALONG_MEAN), 0).astype(np.float32)


def excerpt(passage: Passage, row: int) -> str:
    """Return the text around a row's token on one line, the token in «»."""
    text, end = passage.document.text, int(passage.ends[row])
    # The row before may have been left out, or be another byte of the same character.
    before = int(passage.ends[passage.ends < end].max(initial=0))
    start = max(before, end - len(re.split(r"\s", text[:end])[-1]))
    around = f"{text[max(0, start - BEFORE) : start]}«{text[start:end]}»{text[end : end + AFTER]}"
    return " ".join(around.split())
