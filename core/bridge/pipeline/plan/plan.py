"""The plan for two models over a corpus, made before a model runs. Tokens are paired; impossible runs are refused."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import IO, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Corpus
from bridge.corpus.split import HELD_OUT
from bridge.errors import CorpusError, UsageError
from bridge.maps import Map
from bridge.pairing.tokens import Coverage, ShardPairs, pair_corpus
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.remarks import remarks_of
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.single import (
    ModelPlan,
    Side,
    find_side,
    pinned_corpus,
    read_corpus,
    split,
    with_defaults,
    with_dtype,
)
from bridge.pipeline.plan.specs import build_map
from bridge.store import canonical_json

WITHOUT_NUMBERS = ("allow_untrained", "engine", "src_activations", "dst_activations")
"""Options that change no number by themselves."""

ROWS_PER_DIMENSION = 2
"""Minimal number of training rows per dimension: below it, held-out scores do not describe the models."""

NUMBERLESS = frozenset({"allow_untrained", "engine"})
"""Options that change no number."""


@final
@dataclass(frozen=True)
class Plan:
    """All decisions made before a model runs.

    Attributes:
        options: The options, pinned so that they give the same run from any folder: absolute paths of local models and
            corpus, the corpus by content, the dtype resolved. For jobs and records; a stage receives only the group
            that it needs.
        map: The map type with its options.
        src: Source model.
        dst: Destination model.
        corpus: The texts.
        folds: Fold of each document, or `HELD_OUT`, (documents,).
        shards: The paired rows of each shard.
        coverage: Counts of paired tokens.
        remarks: Sentences about texts that are changed or left out when read, with counts.
    """

    options: Options
    map: Map
    src: Side
    dst: Side
    corpus: Corpus
    folds: NDArray[np.int64]
    shards: list[ShardPairs]
    coverage: Coverage
    remarks: tuple[str, ...] = ()

    @property
    def widths(self) -> tuple[int, int]:
        """d_model of the source and of the destination."""
        return self.src.model.info.d_model, self.dst.model.info.d_model

    @property
    def of_src(self) -> ModelPlan:
        """The source alone."""
        return self._of(self.src, self.options.models.src_activations)

    @property
    def of_dst(self) -> ModelPlan:
        """The destination alone."""
        return self._of(self.dst, self.options.models.dst_activations)

    @property
    def training_folds(self) -> range:
        """Numbers of the training folds."""
        return range(self.options.corpus.folds)

    def key(self) -> str:
        """Return the key of a plan: a hash of its options, with models and corpus by content, and of the pairs.

        The pairs are included because another version may pair the same texts differently. Options that only allow
        something are left out, because they change no number. Sources of activations count by what decides their bits.
        """
        options = {name: value for name, value in self.options.keyed().items() if name not in WITHOUT_NUMBERS}
        sides = {"src_source": self.src, "dst_source": self.dst}
        options |= {name: side.source for name, side in sides.items() if side.source}
        hashed = hashlib.sha256(canonical_json(options).encode())
        for shard in self.shards:
            hashed.update(shard.src.tobytes() + shard.dst.tobytes())
        return hashed.hexdigest()[:32]

    def _of(self, side: Side, activations: str) -> ModelPlan:
        asked = self.options
        found = side, self.corpus, self.folds, asked.models, asked.corpus, asked.run.seed
        return ModelPlan(*found, activations, self.remarks)


def prepare(options: Options, runtime: Runtime, stdin: IO[str] | None = None, corpus: Corpus | None = None) -> Plan:
    """Find models and corpus and pair their tokens.

    Args:
        options: The options.
        runtime: Plugins, store and progress.
        stdin: The stream for a corpus `-`.
        corpus: The corpus, if already read: standard input can be read only once.

    Raises:
        UsageError: If a name, layer or option is wrong.
        MapError: If the map does not suit the models' widths.
        ModelUnavailableError: If weights are not available.
        CorpusError: If the corpus is unreadable, or too small for the models' widths.
    """
    if not options.models.dst:
        raise UsageError("A second model is needed.", remedy="Name it with --dst.")
    kind = build_map(options.map, runtime.registry)
    options = with_dtype(options, runtime)
    models = runtime.resolve(options.models.src), runtime.resolve(options.models.dst)
    kind.check_widths(*(model.info.d_model for model in models))
    options = with_defaults(options, models)
    corpus = corpus or read_corpus(options.corpus, runtime, stdin)
    asked = options.models
    src = find_side(models[0], asked.src_identity, asked.src_activations, asked, options.corpus, runtime)
    dst = find_side(models[1], asked.dst_identity, asked.dst_activations, asked, options.corpus, runtime)
    folds = split(corpus, options.corpus, options.run.seed)
    shards, coverage = pair_corpus(
        corpus,
        src.tokenizer,
        dst.tokenizer,
        max_tokens=options.corpus.max_tokens,
        skip=options.corpus.skip,
        progress=runtime.progress,
    )
    pinned = options.updated(
        src=src.model.pinned(),
        dst=dst.model.pinned(),
        src_identity=src.identity,
        dst_identity=dst.identity,
        **pinned_corpus(corpus, runtime),
    )
    remarks = remarks_of(corpus, [src.tokenizer, dst.tokenizer], runtime)
    plan = Plan(pinned, kind, src, dst, corpus, folds, shards, coverage, remarks)
    _need_enough_rows(plan, runtime)
    return plan


def _need_enough_rows(plan: Plan, runtime: Runtime) -> None:
    width = max(plan.widths)
    training = sum(int((plan.folds[pairs.document] != HELD_OUT).sum()) for pairs in plan.shards)
    held_out = sum(len(pairs.document) for pairs in plan.shards) - training
    if training < ROWS_PER_DIMENSION * width or held_out == 0:
        raise CorpusError(
            f"The corpus {plan.corpus.name} gives {training} paired training rows and {held_out} held-out rows; models "
            f"of width {width} need at least {ROWS_PER_DIMENSION * width} for a fit; {100 * width} are better.",
            remedy="Give more text, raise --max-tokens or --max-documents, or lower --skip.",
        )
    if training < 10 * width:
        runtime.progress.note(
            f"Only {training} training rows for width {width}: expect overfitting, which the held-out scores show."
        )
