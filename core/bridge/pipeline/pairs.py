"""Paired rows of two models over a corpus: indices first, then activations streamed from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.collect import Encoder, shards
from bridge.corpus import Corpus
from bridge.errors import CorruptArtifactError
from bridge.maps import TrainingData
from bridge.moments import Moments
from bridge.pairing import pair_document
from bridge.progress import Progress
from bridge.scorers import HeldOutPairs, Rows
from bridge.split import HELD_OUT
from bridge.store import Artifact

Index = NDArray[np.int64]


@final
@dataclass(frozen=True)
class ShardPairs:
    """Which rows of one shard correspond.

    Attributes:
        src: Row in the source's shard, (pairs,).
        dst: Row in the destination's shard, (pairs,).
        document: Document index in the corpus, (pairs,).
        src_rows: How many rows the source's shard must have.
        dst_rows: How many rows the destination's shard must have.
    """

    src: Index
    dst: Index
    document: Index
    src_rows: int
    dst_rows: int


@final
@dataclass
class Coverage:
    """How many tokens of each model found a partner, and what was left out; reported with every result.

    Attributes:
        pairs: Paired rows before outliers are dropped.
        eligible_src: Source tokens that could have been paired (after specials and `skip`).
        eligible_dst: Destination tokens likewise.
        cut_documents: Documents whose end one of the models did not read, because of `max_tokens`.
        outliers: Paired rows whose norm is outlying in either model.
        training_rows: Rows that maps are fitted on.
        held_out_rows: Rows that scores rest on, outliers left out.
        held_out_documents: Documents that those rows come from.
    """

    pairs: int = 0
    eligible_src: int = 0
    eligible_dst: int = 0
    cut_documents: int = 0
    outliers: int = 0
    training_rows: int = 0
    held_out_rows: int = 0
    held_out_documents: int = 0

    def summary(self) -> dict[str, Any]:
        """Return the counts, and the shares of tokens that were paired."""
        share_src = self.pairs / self.eligible_src if self.eligible_src else 0.0
        share_dst = self.pairs / self.eligible_dst if self.eligible_dst else 0.0
        return {**asdict(self), "coverage_src": share_src, "coverage_dst": share_dst}


def pair_corpus(
    corpus: Corpus, src: Encoder, dst: Encoder, *, max_tokens: int, skip: int, progress: Progress
) -> tuple[list[ShardPairs], Coverage]:
    """Pair the tokens of every document; no model is loaded for this."""
    coverage, paired = Coverage(), []
    with progress.stage("pair tokens", len(corpus.documents), "texts") as advance:
        for chunk in shards(corpus, max_tokens):
            documents = [corpus.documents[index] for index in chunk]
            left, right = src.encode(documents, max_tokens), dst.encode(documents, max_tokens)
            starts = np.zeros(2, dtype=np.int64)
            parts: list[tuple[Index, Index, Index]] = []
            for index, first, second in zip(chunk, left, right, strict=True):
                pairs = pair_document(first, second, skip)
                coverage.pairs += len(pairs.src)
                coverage.eligible_src += pairs.eligible_src
                coverage.eligible_dst += pairs.eligible_dst
                coverage.cut_documents += max(len(first.ids), len(second.ids)) >= max_tokens
                parts.append((pairs.src + starts[0], pairs.dst + starts[1], np.full(len(pairs.src), index)))
                starts += (len(first.kept), len(second.kept))
            rows = [np.concatenate(column) for column in zip(*parts, strict=True)]
            paired.append(ShardPairs(rows[0], rows[1], rows[2], int(starts[0]), int(starts[1])))
            advance(len(chunk))
    return paired, coverage


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


def training_data(rows: PairedRows, d_src: int, d_dst: int, folds: list[int], mispaired: bool = False) -> TrainingData:
    """Summarise the training rows of some folds; held-out documents and outliers are never among them.

    Args:
        rows: All paired rows.
        d_src: Width of the source model.
        d_dst: Width of the destination model.
        folds: Which folds to use.
        mispaired: Pair each source row with a destination row of another document. What a map learns from these is the
            floor.
    """

    def typical() -> Iterator[tuple[Rows, Index]]:
        for block, fold in rows.blocks(lambda fold: np.isin(fold, folds)):
            yield block.take(~block.outlier), fold[~block.outlier]

    def by_fold() -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
        for block, fold in typical():
            for index in np.unique(fold):
                part = block.take(fold == index)
                x, y = mispair(part) if mispaired else (part.x, part.y)
                yield int(index), x, y

    moments = {fold: Moments.empty(d_src, d_dst) for fold in folds}
    for index, x, y in by_fold():
        moments[index] = moments[index] + Moments.of(x, y)
    return TrainingData(tuple(moments.values()), lambda: ((x, y) for _, x, y in by_fold()))


def mispair(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift the destination's rows so far that none keeps its partner, or one of the same document.

    A third of the rows, rather than half: a half shift is its own inverse, and would count every wrong pair twice.
    Where one document holds more than half of the rows that is impossible, and none are returned.
    """
    longest = int(np.unique(rows.document, return_counts=True)[1].max())
    shift = max(longest, len(rows.y) // 3)
    kept = slice(None) if shift + longest <= len(rows.y) else slice(0)
    return rows.x[kept], np.roll(rows.y, shift, axis=0)[kept]


@final
class StoredPairs(HeldOutPairs):
    """The paired rows of some folds, streamed from the store, as scorers see them.

    Args:
        rows: All paired rows.
        fold: The fold to score on: `HELD_OUT`, or a training fold for validation.
        training: What the maps were fitted on; gives the means.

    Attributes:
        documents: The whole corpus.
        folds: Fold of each document, (documents,).
        groups: Index of each document's group among the scored ones, -1 where it is not scored, (documents,).
    """

    def __init__(self, rows: PairedRows, fold: int, training: TrainingData) -> None:
        self._rows = rows
        self._fold = fold
        self.documents = rows.corpus.documents
        self.folds = rows.folds
        self.mean_src = training.moments.mean_x
        self.mean_dst = training.moments.mean_y
        # Intervals resample independent documents: the paragraphs of one file are not.
        groups = {group: i for i, group in enumerate(dict.fromkeys(d.group for d in rows.corpus.documents))}
        chosen = [groups[document.group] for document in rows.corpus.documents]
        scored = rows.folds == fold
        self.groups = np.full(len(chosen), -1)
        _, self.groups[scored] = np.unique(np.array(chosen)[scored], return_inverse=True)
        self.n_documents = int(self.groups.max()) + 1

    def blocks(self) -> Iterator[Rows]:
        """Stream over all rows, outliers included."""
        for block, _ in self._rows.blocks(lambda fold: fold == self._fold):
            yield Rows(block.x, block.y, self.groups[block.document], block.outlier)
