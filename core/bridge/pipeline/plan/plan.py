"""Before anything expensive: find models and corpus, pair tokens, and refuse what cannot work."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Corpus
from bridge.corpus.read import BUNDLED, load_corpus
from bridge.corpus.split import HELD_OUT, assign_folds
from bridge.errors import CorpusError, ModelError, UsageError
from bridge.models import Tokenizer
from bridge.models.cached_tokenizer import CachedTokenizer
from bridge.models.dtype import AUTO
from bridge.models.resolve import ResolvedModel
from bridge.pairing.tokens import Coverage, ShardPairs, pair_corpus
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.runtime import Runtime

ROWS_PER_DIMENSION = 2
"""Fewer training rows a dimension than this, and held-out scores say nothing about the models."""


@final
@dataclass(frozen=True)
class Side:
    """One of the two models, found but not loaded."""

    model: ResolvedModel
    tokenizer: Tokenizer
    identity: str


@final
@dataclass(frozen=True)
class Plan:
    """All that is decided before a model runs.

    Attributes:
        options: What was asked for, so pinned that it runs the same from any folder: local models and corpus by
            absolute path, the corpus by content, the dtype decided.
        src: Source model.
        dst: Destination model.
        corpus: The texts.
        folds: Fold of each document, or `HELD_OUT`, (documents,).
        shards: Which rows correspond.
        coverage: How many tokens were paired.
    """

    options: Options
    src: Side
    dst: Side
    corpus: Corpus
    folds: NDArray[np.int64]
    shards: list[ShardPairs]
    coverage: Coverage

    @property
    def widths(self) -> tuple[int, int]:
        """d_model of the source and of the destination."""
        return self.src.model.info.d_model, self.dst.model.info.d_model


def prepare(options: Options, runtime: Runtime, stdin: IO[str] | None = None, corpus: Corpus | None = None) -> Plan:
    """Find models and corpus and pair their tokens.

    Args:
        options: What was asked for.
        runtime: Plugins, store and progress.
        stdin: Where a corpus `-` comes from.
        corpus: The corpus where it was read before: standard input can be read only once.

    Raises:
        UsageError: If a name, layer or option is wrong.
        ModelUnavailableError: If weights cannot be had.
        CorpusError: If the corpus is unreadable, or too small for the models' widths.
    """
    options.build_map(runtime.registry)
    placement = options.placement()
    placement.torch_device()
    if options.dtype == AUTO:
        runtime.progress.note(f"Computing in {placement.dtype} (--dtype {AUTO}).")
        options = options.model_copy(update={"dtype": placement.dtype})
    models = runtime.resolve(options.src), runtime.resolve(options.dst)
    options = _with_defaults(options, models)
    corpus = corpus or load_corpus(options.corpus, stdin, options.max_documents, runtime.registry.corpora)
    if options.corpus_sha256 and corpus.identity != options.corpus_sha256:
        raise CorpusError(
            f"The corpus {options.corpus} is not the one that this experiment was made with.",
            cause="Its content changed since.",
            remedy="Restore it, or remove corpus_sha256 from the file to run on the new content.",
        )
    src = _side(models[0], options.src_identity, options, runtime)
    dst = _side(models[1], options.dst_identity, options, runtime)
    folds = assign_folds(corpus, held_out=options.held_out, folds=options.folds, kind=options.split, seed=options.seed)
    shards, coverage = pair_corpus(
        corpus,
        src.tokenizer,
        dst.tokenizer,
        max_tokens=options.max_tokens,
        skip=options.skip,
        progress=runtime.progress,
    )
    pinned = options.model_copy(
        update={
            "src": src.model.pinned(),
            "dst": dst.model.pinned(),
            "src_identity": src.identity,
            "dst_identity": dst.identity,
            "corpus": _from_anywhere(options.corpus, {BUNDLED, *runtime.registry.corpora}),
            "corpus_sha256": corpus.identity,
        }
    )
    plan = Plan(pinned, src, dst, corpus, folds, shards, coverage)
    _need_enough_rows(plan, runtime)
    return plan


def training_texts(plan: Plan) -> Iterator[str]:
    """Yield the texts of the training documents."""
    return (one.text for one, fold in zip(plan.corpus.documents, plan.folds, strict=True) if fold != HELD_OUT)


def _from_anywhere(corpus: str, names: Collection[str]) -> str:
    path = Path(corpus).expanduser()
    return str(path.absolute()) if corpus not in names and path.exists() else corpus


def corpus_of(options: Options, models: Sequence[ResolvedModel]) -> str:
    """Return the corpus that was asked for, the models' own where both have the same, or the bundled English."""
    corpora = {model.corpus for model in models}
    return options.corpus or (corpora.pop() if len(corpora) == 1 else "") or BUNDLED


def _with_defaults(options: Options, models: Sequence[ResolvedModel]) -> Options:
    """Fill in what was left open and depends on the models: their own corpus, and what they can read."""
    corpus = corpus_of(options, models)
    limits = [model.info.max_tokens for model in models if model.info.max_tokens is not None]
    asked = "max_tokens" in options.model_fields_set
    max_tokens = options.max_tokens if asked else min([options.max_tokens, *limits])
    return options.model_copy(update={"corpus": corpus, "max_tokens": max_tokens})


def _side(model: ResolvedModel, identity: str, options: Options, runtime: Runtime) -> Side:
    model.all_sites()
    limit = model.info.max_tokens
    if limit is not None and options.max_tokens > limit:
        raise UsageError(f"{model.name} reads at most {limit} tokens.", remedy=f"Use --max-tokens {limit} or fewer.")
    tokenizer = CachedTokenizer(model.adapter.tokenizer(model.weights))
    side = Side(model, tokenizer, model.weights.identity(runtime.store))
    if identity and identity != side.identity:
        raise ModelError(
            f"The weights of {model.name} are not the ones that this experiment was made with.",
            cause="They were replaced since.",
            remedy="Restore them, or remove src_identity and dst_identity from the file to run with the new ones.",
        )
    return side


def _need_enough_rows(plan: Plan, runtime: Runtime) -> None:
    width = max(plan.widths)
    training = sum(int((plan.folds[pairs.document] != HELD_OUT).sum()) for pairs in plan.shards)
    held_out = sum(len(pairs.document) for pairs in plan.shards) - training
    if training < ROWS_PER_DIMENSION * width or held_out == 0:
        raise CorpusError(
            f"The corpus {plan.corpus.name} gives {training} paired training rows and {held_out} held-out ones; models "
            f"of width {width} need at least {ROWS_PER_DIMENSION * width} to fit, and do better with {100 * width}.",
            remedy="Give more text, raise --max-tokens or --max-documents, or lower --skip.",
        )
    if training < 10 * width:
        runtime.progress.note(
            f"Only {training} training rows for a width of {width}: expect overfitting, which the held-out scores show."
        )
