"""Pairing of two models' rows, shard by shard, with counts of paired tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Corpus
from bridge.corpus.shards import shards
from bridge.pairing.align import Encoder, pair_document
from bridge.progress import Progress

Index = NDArray[np.int64]


@final
@dataclass(frozen=True)
class ShardPairs:
    """The paired rows of one shard.

    Attributes:
        src: Row in the source's shard, (pairs,).
        dst: Row in the destination's shard, (pairs,).
        document: Document index in the corpus, (pairs,).
        src_rows: Required number of rows of the source's shard.
        dst_rows: Required number of rows of the destination's shard.
    """

    src: Index
    dst: Index
    document: Index
    src_rows: int
    dst_rows: int


@final
@dataclass
class Coverage:
    """Counts of paired and left-out tokens of each model; reported with every result.

    Attributes:
        pairs: Paired rows before outliers are dropped.
        eligible_src: Source tokens that could be paired (without special tokens and `skip`).
        eligible_dst: Destination tokens that could be paired.
        cut_documents: Documents whose end one of the models did not read, because of `max_tokens`.
        outliers: Paired rows with an outlying norm in either model.
        training_rows: Rows that maps are fitted on.
        held_out_rows: Rows that scores are computed on, outliers left out.
        held_out_documents: Documents of these rows.
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
    """Pair the tokens of every document, without loading a model."""
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
