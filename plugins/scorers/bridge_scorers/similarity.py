"""Cosines between the texts of two verbalizers, as they are and without what all texts of one share."""

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
"""Texts nearer to their mean than this differ in the judge's rounding only."""


@final
@dataclass(frozen=True)
class Embedded:
    """Where a judge puts some texts.

    Attributes:
        vectors: Each distinct text once, of unit norm, or zero where it says nothing: (distinct, k) float64.
        which: The distinct text of each text, (n,) int64.
    """

    vectors: Array
    which: NDArray[np.int64]

    def centred(self) -> Embedded:
        """Take away the mean over all texts but empty ones, and return to unit norm; what is left of a mean is zero."""
        nonempty: NDArray[np.bool_] = np.square(self.vectors).sum(1) > 0
        counts = np.bincount(self.which, minlength=len(nonempty)) * nonempty
        moved = self.vectors - counts @ self.vectors / max(counts.sum(), 1)
        return Embedded(np.where(nonempty[:, None], unit_rows(moved, NEGLIGIBLE), 0.0), self.which)

    def similarity(self, other: Embedded) -> Array:
        """Return the cosine of every text with every text of another, (n, m); 0 where either is empty.

        Equal texts have equal rows and columns to the last bit, so that they tie.
        """
        return (self.vectors @ other.vectors.T)[np.ix_(self.which, other.which)]


def embed(judge: Judge, texts: Sequence[str]) -> Embedded:
    """Embed texts.

    A judge puts an empty text somewhere, too, where it would be similar to something; it is zero here.
    """
    distinct = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    vectors = judge(list(distinct)).astype(np.float64)
    vectors[[not text.strip() for text in distinct]] = 0
    return Embedded(vectors, np.array([distinct[text] for text in texts], dtype=np.int64))
