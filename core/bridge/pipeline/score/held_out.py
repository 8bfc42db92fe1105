"""Held-out paired rows for scorers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from bridge.corpus.split import document_groups
from bridge.maps import TrainingData
from bridge.pairing.rows import PairedRows, Rows
from bridge.scorers import HeldOutPairs


@final
class StoredPairs(HeldOutPairs):
    """The paired rows of one fold, streamed from the store, for scorers.

    Args:
        rows: All paired rows.
        fold: The fold to score on: `HELD_OUT`, or a training fold for validation.
        training: The training data of the maps, which gives the means.
    """

    def __init__(self, rows: PairedRows, fold: int, training: TrainingData) -> None:
        self._rows = rows
        self._fold = fold
        self.mean_src = training.moments.mean_x
        self.mean_dst = training.moments.mean_y
        self._groups = document_groups(rows.corpus, rows.folds, fold)
        self.n_documents = int(self._groups.max()) + 1

    def blocks(self) -> Iterator[Rows]:
        """Stream over all rows, outliers included."""
        for block, _ in self._rows.blocks(lambda fold: fold == self._fold):
            yield Rows(block.x, block.y, self._groups[block.document], block.outlier)
