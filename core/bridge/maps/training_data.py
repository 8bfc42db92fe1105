"""What maps are fitted on: paired rows of the training documents, as moments and as a stream."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import InitVar, dataclass, field
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from bridge.moments import Moments, total

Array = NDArray[np.float64]
"""The array type of maps: float64."""


class RowBlocks(Protocol):
    """Opens a stream over paired rows from disk: call it once per pass, and keep only one block in memory."""

    def __call__(
        self, folds: Collection[int] | None = None, /
    ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
        """Stream over pairs of (n, d_src) and (n, d_dst) float32 arrays, n varying.

        Args:
            folds: Rows of these folds only, by their indices in `TrainingData.folds`; None for all.

        Returns:
            Blocks of rows, x and y of each.
        """


@final
@dataclass(frozen=True)
class TrainingData:
    """The input for fitting a map: the training documents' paired rows, as moments and as a stream.

    Args:
        whole: Moments of all rows, if already known.

    Attributes:
        folds: Moments of each fold; folds are disjoint sets of documents.
        blocks: Opens a stream over the same rows, or over some folds' rows, for example for early stopping on other
            documents.
        products: Dtype of the products of rows: `float64`, or `float32` where the measured error is small enough.
        moments: Moments of all training rows.
        device: Where maps may compute decompositions, as torch names it: `cuda` and `cuda:N` are faster, if the map has
            code for them; else `cpu`.
    """

    folds: tuple[Moments, ...]
    blocks: RowBlocks
    products: str = "float64"
    whole: InitVar[Moments | None] = None
    moments: Moments = field(init=False)
    device: str = field(default="cpu", kw_only=True)

    def __post_init__(self, whole: Moments | None) -> None:
        object.__setattr__(self, "moments", whole or total(self.folds))

    @property
    def d_src(self) -> int:
        """Width of the source model."""
        return len(self.folds[0].mean_x)

    @property
    def d_dst(self) -> int:
        """Width of the destination model."""
        return len(self.folds[0].mean_y)

    def reversed(self) -> TrainingData:
        """The same rows with source and destination exchanged, for fitting the reverse map.

        Returns:
            The same folds and stream, x and y exchanged.
        """

        def blocks(
            folds: Collection[int] | None = None, /
        ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
            return ((y, x) for x, y in self.blocks(folds))

        folds = tuple(fold.transposed() for fold in self.folds)
        return TrainingData(folds, blocks, self.products, self.moments.transposed(), device=self.device)

    def others(self, index: int) -> list[Moments]:
        """Moments of each fold except one; folds without rows are left out if any fold has rows.

        Args:
            index: Index of the fold that is left out.

        Returns:
            At least one set of moments.
        """
        filled = [fold for i, fold in enumerate(self.folds) if i != index and fold.n]
        return filled or [Moments.empty(self.d_src, self.d_dst)]

    def without_fold(self, index: int) -> Moments:
        """Moments of all training rows except those of one fold.

        Args:
            index: Index of the fold that is left out.

        Returns:
            The moments of all other folds together.
        """
        return total(self.others(index))
