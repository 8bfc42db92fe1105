"""Paired rows of two models over a corpus, streamed from the store, for fitting and scoring."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Corpus
from bridge.corpus.split import HELD_OUT
from bridge.errors import CorruptArtifactError
from bridge.pairing.tokens import Coverage, Index, ShardPairs
from bridge.store import Artifact


@final
@dataclass(frozen=True)
class Rows:
    """A block of held-out paired rows.

    Attributes:
        x: Source activations, (n, d_src) float32.
        y: Destination activations, (n, d_dst) float32.
        document: Index of each row's document group, (n,) int64.
        outlier: Whether the row's norm is far above the median in either model, (n,) bool.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    document: NDArray[np.int64]
    outlier: NDArray[np.bool_]

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Rows:
        """Return some of the rows.

        Args:
            chosen: Indices or a mask over rows.
        """
        return Rows(self.x[chosen], self.y[chosen], self.document[chosen], self.outlier[chosen])

    def sum_by_document(self, values: NDArray[np.floating], n_documents: int) -> NDArray[np.float64]:
        """Sum one value per row, (n,), within each document: (n_documents,) float64.

        Args:
            values: One value per row, (n,).
            n_documents: Number of held-out documents.

        Returns:
            (n_documents,) float64; 0 for documents without rows.
        """
        return np.bincount(self.document, values, minlength=n_documents).astype(np.float64)


def concatenate(first: Rows, second: Rows) -> Rows:
    """Return the rows of both."""
    fields = ((getattr(first, name), getattr(second, name)) for name in ("x", "y", "document", "outlier"))
    return Rows(*(np.concatenate(pair) for pair in fields))


@final
class PairedRows:
    """Streams paired activations, with each row's fold and whether its norm is outlying.

    Args:
        corpus: The texts.
        shards: The paired rows of each shard.
        src: The source's activations.
        dst: The destination's activations.
        folds: Fold of each document, or `HELD_OUT`, (documents,).
        outlier_factor: Rows with a norm above this many times the median training norm, in either model, are outliers.
        coverage: Counts, completed by this class.
        outliers: Whether each row of each shard is an outlier, if already known: finding them reads all norms.
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
        outliers: list[NDArray[np.bool_]] | None = None,
    ) -> None:
        self.corpus = corpus
        self.shards = shards
        self.artifacts = (src, dst)
        self.folds = folds
        self.outliers = outliers or self._find_outliers(outlier_factor)
        self.coverage = coverage
        self._count(coverage)

    def blocks(self, wanted: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> Iterator[tuple[Rows, Index]]:
        """Yield one block per shard: the rows of the wanted folds, and their folds.

        Args:
            wanted: Function of folds, (n,), that returns a mask of the wanted rows, (n,) bool.

        Raises:
            CorruptArtifactError: If a shard is missing or damaged.
        """
        for index, pairs, x, y in self._read(range(len(self.shards))):
            outlier = self.outliers[index]
            fold = self.folds[pairs.document]
            chosen = np.flatnonzero(wanted(fold))
            if len(chosen):
                left = x["rows"][pairs.src[chosen]].float().numpy()
                right = y["rows"][pairs.dst[chosen]].float().numpy()
                yield Rows(left, right, pairs.document[chosen], outlier[chosen]), fold[chosen]

    def parts(self, folds: Collection[int], shards: range | None = None) -> Iterator[tuple[int, Rows]]:
        """Yield the fold's number and its rows, for every shard and fold, outliers left out.

        Args:
            folds: The folds.
            shards: Numbers of the shards; default: all.

        Raises:
            CorruptArtifactError: If a shard is missing or damaged.
        """
        for shard, pairs, x, y in self._read(range(len(self.shards)) if shards is None else shards):
            fold = np.where(self.outliers[shard], HELD_OUT, self.folds[pairs.document])
            for index in np.intersect1d(fold, list(folds)).tolist():
                chosen = np.flatnonzero(fold == index)
                left = x["rows"][pairs.src[chosen]].float().numpy()
                right = y["rows"][pairs.dst[chosen]].float().numpy()
                yield index, Rows(left, right, pairs.document[chosen], self.outliers[shard][chosen])

    def runs(self, length: int) -> list[ShardRun]:
        """Cut into runs of shards.

        Args:
            length: Number of shards of a run; the last one may be shorter.
        """
        starts = range(0, len(self.shards), length)
        return [self.run(range(start, min(start + length, len(self.shards)))) for start in starts]

    def run(self, shards: range) -> ShardRun:
        """Return the rows of some shards.

        Args:
            shards: Numbers of the shards.
        """
        return ShardRun(self, shards)

    def _read(self, shards: range) -> Iterator[tuple[int, ShardPairs, Any, Any]]:
        for index in shards:
            pairs, x, y = self.shards[index], *(artifact.read(index) for artifact in self.artifacts)
            if (len(x["rows"]), len(y["rows"])) != (pairs.src_rows, pairs.dst_rows):
                raise CorruptArtifactError(
                    "The stored activations do not match these tokenizers.",
                    cause="A tokenizer changed after its model's activations were collected.",
                    remedy=f"Delete {self.artifacts[0].path} and {self.artifacts[1].path} and run again.",
                )
            yield index, pairs, x, y

    def _find_outliers(self, factor: float) -> list[NDArray[np.bool_]]:
        read = self._read(range(len(self.shards)))
        norms = [np.stack([x["norms"][p.src].numpy(), y["norms"][p.dst].numpy()]) for _, p, x, y in read]
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


@final
@dataclass(frozen=True)
class ShardRun:
    """Consecutive shards of paired rows.

    Attributes:
        rows: All rows.
        shards: Numbers of the shards.
    """

    rows: PairedRows
    shards: range

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        """Yield the fold's number and its rows, for every shard and fold, outliers left out.

        Raises:
            CorruptArtifactError: If a shard is missing or damaged.
        """
        return self.rows.parts(folds, self.shards)
