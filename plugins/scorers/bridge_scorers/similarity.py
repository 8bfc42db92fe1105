"""Cosines between the texts of two verbalizers, plain and centred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.geometry import unit_rows
from bridge.scorers import Judge

Array = NDArray[np.float64]
NEGLIGIBLE = 1e-4
"""Distance from the mean below which texts differ only by the judge's rounding."""


@final
@dataclass(frozen=True)
class Embedded:
    """The embeddings of some texts.

    Attributes:
        vectors: Each distinct text once, of unit norm, or zero for an empty text: (distinct, k) float64.
        which: The distinct text of each text, (n,) int64.
    """

    vectors: Array
    which: NDArray[np.int64]

    def centred(self) -> Embedded:
        """Subtract the mean over all non-empty texts, and scale to unit norm; texts equal to the mean become zero."""
        nonempty: NDArray[np.bool_] = np.square(self.vectors).sum(1) > 0
        counts = np.bincount(self.which, minlength=len(nonempty)) * nonempty
        moved = self.vectors - counts @ self.vectors / max(counts.sum(), 1)
        return Embedded(np.where(nonempty[:, None], unit_rows(moved, NEGLIGIBLE), 0.0), self.which)

    def similarity(self, other: Embedded) -> Array:
        """Return the cosine of every text with every text of `other`, (n, m); 0 if either text is empty.

        Equal texts have bitwise equal rows and columns, so that they tie.
        """
        return (self.vectors @ other.vectors.T)[np.ix_(self.which, other.which)]


def embed(judge: Judge, texts: Sequence[str]) -> Embedded:
    """Embed texts.

    An empty text becomes zero here, because a judge's embedding of it would be similar to some texts.
    """
    distinct = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    vectors = judge(list(distinct)).astype(np.float64)
    vectors[[not text.strip() for text in distinct]] = 0
    return Embedded(vectors, np.array([distinct[text] for text in texts], dtype=np.int64))
