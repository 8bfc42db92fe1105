"""Documents that no map was fitted on: their paired rows, and the destination model run on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.pairing.rows import Rows, concatenate
from bridge.reservoir import Reservoir


class HeldOutPairs(ABC):
    """Paired rows of documents that no map was fitted on: held-out documents, or the validation fold of a sweep."""

    mean_src: NDArray[np.float64]
    """Mean of the source's *training* rows, (d_src,)."""

    mean_dst: NDArray[np.float64]
    """Mean of the destination's *training* rows, (d_dst,)."""

    n_documents: int
    """One more than the largest document index in the blocks."""

    @abstractmethod
    def blocks(self) -> Iterator[Rows]:
        """Stream over all rows, outliers included.

        Returns:
            Blocks of rows.
        """

    @final
    def typical(self) -> Iterator[Rows]:
        """Stream over all rows except outliers.

        Returns:
            Blocks of rows.
        """
        for rows in self.blocks():
            yield rows.take(~rows.outlier)

    @final
    def sample(self, count: int, seed: int) -> Rows:
        """Draw at most `count` rows, outliers left out, uniformly by seed; only these rows are held in memory.

        Args:
            count: Maximal number of rows.
            seed: Seed of the draw.

        Returns:
            The rows, in the order of the stream.
        """
        draw = Reservoir(count, seed)
        kept: Rows | None = None
        for rows in self.typical():
            admitted = rows.take(draw.admit(len(rows.x)))
            kept = admitted if kept is None else concatenate(kept, admitted)
            if draw.excess > 0:
                kept = kept.take(draw.trim())
        assert kept is not None, "the runtime never hands out an empty held-out set"
        return kept


Edit = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Rewrites activations, (n, d_dst) float32 -> the same shape."""


class LiveModel(ABC):
    """The destination model in memory, run on a sample of the held-out documents."""

    n_documents: int
    """One more than the largest document index; the same groups as in the held-out pairs."""

    @abstractmethod
    def losses(self, edit: Edit | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Run the documents with edited activations at the destination site, and sum the next-token losses.

        Args:
            edit: Rewrites the rows of every token that stands for text; None leaves them unchanged.

        Returns:
            Cross-entropy in nats summed over each document's next tokens, and the number of these tokens: both
            (n_documents,).
        """
