"""Paired rows of two models over a corpus, streamed from the store: to fit on, and to score on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus import Corpus
from bridge.errors import CorruptArtifactError
from bridge.maps import TrainingData
from bridge.pipeline.pair_tokens import Coverage, Index, ShardPairs
from bridge.scorers import HeldOutPairs, Rows
from bridge.split import HELD_OUT
from bridge.store import Artifact


@final
class PairedRows:
    """Streams paired activations, with each row's fold and whether its norm is outlying.

    Args:
        corpus: The texts.
        shards: Which rows correspond.
        src: The source's activations.
        dst: The destination's activations.
        folds: Fold of each document, or `HELD_OUT`, (documents,).
        outlier_factor: Rows above so many times the median training norm, in either model, are outliers.
        coverage: Counts to complete.
    """

    def __init__(
        self,
        corpus: Corpus,
        shards: list[ShardPairs],
        src: Artifact,
        dst: Artifact,
        folds: NDArray[np.int64],
        outlier_factor: float,
        coverage: Coverage,
    ) -> None:
        self.corpus = corpus
        self.shards = shards
        self.artifacts = (src, dst)
        self.folds = folds
        self.outliers = self._find_outliers(outlier_factor)
        self.coverage = coverage
        self._count(coverage)

    def blocks(self, wanted: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> Iterator[tuple[Rows, Index]]:
        """Yield one block a shard: the rows whose fold is wanted, and their folds.

        Args:
            wanted: Tells for folds of shape (n,) which to take, (n,) bool.

        Raises:
            CorruptArtifactError: If a shard is missing or damaged.
        """
        for (pairs, x, y), outlier in zip(self._read(), self.outliers, strict=True):
            fold = self.folds[pairs.document]
            chosen = np.flatnonzero(wanted(fold))
            if len(chosen):
                left = x["rows"][pairs.src[chosen]].float().numpy()
                right = y["rows"][pairs.dst[chosen]].float().numpy()
                yield Rows(left, right, pairs.document[chosen], outlier[chosen]), fold[chosen]

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        """Yield the rows of one fold in one shard at a time, outliers left out, with the fold's number.

        Raises:
            CorruptArtifactError: If a shard is missing or damaged.
        """
        for (pairs, x, y), outlier in zip(self._read(), self.outliers, strict=True):
            fold = np.where(outlier, HELD_OUT, self.folds[pairs.document])
            for index in np.intersect1d(fold, list(folds)).tolist():
                chosen = np.flatnonzero(fold == index)
                left = x["rows"][pairs.src[chosen]].float().numpy()
                right = y["rows"][pairs.dst[chosen]].float().numpy()
                yield index, Rows(left, right, pairs.document[chosen], outlier[chosen])

    def _read(self) -> Iterator[tuple[ShardPairs, Any, Any]]:
        for index, pairs in enumerate(self.shards):
            x, y = (artifact.read(index) for artifact in self.artifacts)
            if (len(x["rows"]), len(y["rows"])) != (pairs.src_rows, pairs.dst_rows):
                raise CorruptArtifactError(
                    "The stored activations do not belong to these tokenizers.",
                    cause="A tokenizer changed after its model's activations were collected.",
                    remedy=f"Delete {self.artifacts[0].path} and {self.artifacts[1].path} and run again.",
                )
            yield pairs, x, y

    def _find_outliers(self, factor: float) -> list[NDArray[np.bool_]]:
        norms = [np.stack([x["norms"][p.src].numpy(), y["norms"][p.dst].numpy()]) for p, x, y in self._read()]
        training = [self.folds[pairs.document] != HELD_OUT for pairs in self.shards]
        median = np.median(np.concatenate([n[:, t] for n, t in zip(norms, training, strict=True)], axis=1), axis=1)
        return [(n > factor * median[:, None]).any(0) for n in norms]

    def _count(self, coverage: Coverage) -> None:
        documents: set[int] = set()
        for pairs, outlier in zip(self.shards, self.outliers, strict=True):
            held_out = self.folds[pairs.document] == HELD_OUT
            coverage.outliers += int(outlier.sum())
            coverage.training_rows += int((~held_out & ~outlier).sum())
            coverage.held_out_rows += int((held_out & ~outlier).sum())
            documents |= set(pairs.document[held_out].tolist())
        coverage.held_out_documents = len(documents)


def mispair(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift the destination's rows so far that none keeps its partner, or one of the same document.

    A third of the rows, rather than half: a half shift is its own inverse, and would count every wrong pair twice.
    Where one document holds more than half of the rows that is impossible, and none are returned.
    """
    longest = int(np.unique(rows.document, return_counts=True)[1].max())
    shift = max(longest, len(rows.y) // 3)
    kept = slice(None) if shift + longest <= len(rows.y) else slice(0)
    return rows.x[kept], np.roll(rows.y, shift, axis=0)[kept]


def document_groups(corpus: Corpus, folds: Index, fold: int) -> Index:
    """Number the groups of one fold's documents: -1 for documents of other folds, (documents,) int64.

    Intervals resample independent documents: the paragraphs of one file are not.
    """
    numbers = {group: i for i, group in enumerate(dict.fromkeys(document.group for document in corpus.documents))}
    scored = folds == fold
    groups = np.full(len(folds), -1)
    chosen = np.array([numbers[document.group] for document in corpus.documents])[scored]
    _, groups[scored] = np.unique(chosen, return_inverse=True)
    return groups


@final
class StoredPairs(HeldOutPairs):
    """The paired rows of some folds, streamed from the store, as scorers see them.

    Args:
        rows: All paired rows.
        fold: The fold to score on: `HELD_OUT`, or a training fold for validation.
        training: What the maps were fitted on; gives the means.
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
