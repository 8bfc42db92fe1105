"""One model over a corpus: what is decided before it runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import IO, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Corpus
from bridge.corpus.read import BUNDLED, load_corpus
from bridge.corpus.split import HELD_OUT, assign_folds
from bridge.errors import BridgeError, CorpusError, ModelError, StoreError, UsageError
from bridge.files import write_bytes
from bridge.json_files import read_json
from bridge.models import Tokenizer
from bridge.models.cached_tokenizer import CachedTokenizer
from bridge.models.dtype import AUTO
from bridge.models.resolve import ResolvedModel
from bridge.pipeline.plan.groups import CorpusOptions, ModelOptions
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.placement import placement_of
from bridge.pipeline.plan.remarks import remarks_of
from bridge.pipeline.plan.runtime import Runtime
from bridge.store import Store


@final
@dataclass(frozen=True)
class Side:
    """A model, found but not loaded.

    Attributes:
        model: Which.
        tokenizer: Its own.
        identity: What identifies its weights.
        store: Where it is kept that they are whole.
    """

    model: ResolvedModel
    tokenizer: Tokenizer
    identity: str
    store: Store

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What must be known of how its weights are read; none while they are not on this machine.

        Raises:
            ModelError: If they are not all there, or not all the model's.
        """
        if not self.model.weights.are_here():
            return ()
        # The same weights are whole for the same libraries: only what was refused is looked at again.
        recipe = {
            "model": f"{self.model.adapter.name} {self.identity}",
            "libraries": {name: version(name) for name in ("residual-bridge", "transformers")},
        }
        kept = self.store.artifact("whole-weights", recipe).path / "notes.json"
        with contextlib.suppress(BridgeError):
            return tuple(read_json(kept, list[str]))
        notes = tuple(self.model.adapter.check_weights(self.model.weights))
        with contextlib.suppress(StoreError):  # a cache that cannot be written costs the check each time
            write_bytes(kept, json.dumps(notes).encode())
        return notes


@final
@dataclass(frozen=True)
class ModelPlan:
    """One model, and the texts that it is run on.

    Attributes:
        side: The model.
        corpus: The texts.
        folds: Fold of each document, or `HELD_OUT`, (documents,).
        models: How models are run, the dtype decided.
        reading: How texts are cut, and which of their rows are left out.
        seed: Of everything random.
        remarks: What of the texts is read otherwise than it stands, with counts: sentences for people.
    """

    side: Side
    corpus: Corpus
    folds: NDArray[np.int64]
    models: ModelOptions
    reading: CorpusOptions
    seed: int
    remarks: tuple[str, ...] = ()

    def training_texts(self) -> Iterator[str]:
        """Yield the texts of the training documents."""
        return (one.text for one, fold in zip(self.corpus.documents, self.folds, strict=True) if fold != HELD_OUT)


def side_of(model: ResolvedModel, runtime: Runtime) -> Side:
    """Return a model as what loads and checks it takes it."""
    return Side(model, model.adapter.tokenizer(model.weights), model.weights.identity(runtime.store), runtime.store)


def prepare_model(options: Options, runtime: Runtime, stdin: IO[str] | None = None) -> tuple[Options, ModelPlan]:
    """Find the source model and the corpus; `dst` and the map are not looked at.

    Args:
        options: What was asked for.
        runtime: Plugins, store and progress.
        stdin: Where a corpus `-` comes from.

    Returns:
        What was asked for, pinned (the model by content and absolute path, the corpus by content, the dtype), and the
        plan.

    Raises:
        UsageError: If a name, layer or option is wrong.
        ModelUnavailableError: If weights cannot be had.
        CorpusError: If the corpus is unreadable.
    """
    options = with_dtype(options, runtime)
    model = runtime.resolve(options.models.src)
    options = with_defaults(options, [model])
    corpus = read_corpus(options.corpus, runtime, stdin)
    side = find_side(model, options.models.src_identity, options.corpus.max_tokens, runtime)
    pinned = options.updated(src=side.model.pinned(), src_identity=side.identity, **pinned_corpus(corpus, runtime))
    folds = split(corpus, options.corpus, options.run.seed)
    remarks = remarks_of(corpus, [side.tokenizer], runtime)
    return pinned, ModelPlan(side, corpus, folds, pinned.models, pinned.corpus, pinned.run.seed, remarks)


def with_dtype(options: Options, runtime: Runtime) -> Options:
    """Decide what `--dtype auto` means, and tell.

    Raises:
        UsageError: If there is no such device.
    """
    placement = placement_of(options.models)
    placement.torch_device()
    if options.models.dtype != AUTO:
        return options
    runtime.progress.note(f"Computing in {placement.dtype} (--dtype {AUTO}).")
    return options.updated(dtype=placement.dtype)


def with_defaults(options: Options, models: Sequence[ResolvedModel]) -> Options:
    """Fill in what was left open and depends on the models: their own corpus, and what they can read."""
    limits = [model.info.max_tokens for model in models if model.info.max_tokens is not None]
    most = options.corpus.max_tokens
    max_tokens = most if options.given("max_tokens") else min([most, *limits])
    return options.updated(corpus=corpus_of(options.corpus.source, models), max_tokens=max_tokens)


def corpus_of(asked: str, models: Sequence[ResolvedModel]) -> str:
    """Return the corpus that was asked for, the models' own where both have the same, or the bundled English."""
    corpora = {model.corpus for model in models}
    return asked or (corpora.pop() if len(corpora) == 1 else "") or BUNDLED


def read_corpus(asked: CorpusOptions, runtime: Runtime, stdin: IO[str] | None = None) -> Corpus:
    """Read the corpus.

    Raises:
        CorpusError: If it is unreadable, or another one than the options name by content.
    """
    corpus = _moved(asked, runtime) or load_corpus(asked.source, stdin, asked.max_documents, runtime.registry.corpora)
    if asked.sha256 and corpus.identity != asked.sha256:
        raise CorpusError(
            f"The corpus {asked.source} is not the one that this experiment was made with.",
            cause="Its content changed since.",
            remedy="Restore it, or remove corpus_sha256 from the file to run on the new content.",
        )
    return corpus


def _moved(asked: CorpusOptions, runtime: Runtime) -> Corpus | None:
    """Return the named corpus of the content that is asked for, where a package's file is not where it was recorded."""
    if not asked.sha256 or not Path(asked.source).is_absolute() or Path(asked.source).exists():
        return None
    for name in runtime.registry.corpora:
        corpus = load_corpus(name, None, asked.max_documents, runtime.registry.corpora)
        if corpus.identity == asked.sha256:
            runtime.progress.note(f"There is no {asked.source} any more; the corpus {name} has the same content.")
            return corpus
    return None


def split(corpus: Corpus, asked: CorpusOptions, seed: int) -> NDArray[np.int64]:
    """Assign documents to folds, (documents,)."""
    return assign_folds(corpus, held_out=asked.held_out, folds=asked.folds, kind=asked.split, seed=seed)


def pinned_corpus(corpus: Corpus, runtime: Runtime) -> dict[str, str]:
    """Return the options that name the same corpus from any folder."""
    names = {BUNDLED, *runtime.registry.corpora}
    return {"corpus": _from_anywhere(corpus.name, names), "corpus_sha256": corpus.identity}


def _from_anywhere(corpus: str, names: Collection[str]) -> str:
    path = Path(corpus).expanduser()
    return str(path.absolute()) if corpus not in names and path.exists() else corpus


def find_side(model: ResolvedModel, identity: str, max_tokens: int, runtime: Runtime) -> Side:
    """Hold a model to its sites, to what it can read, and to the weights that were asked for.

    Args:
        model: The model.
        identity: What its weights must be, or empty.
        max_tokens: How much of a text it must read.
        runtime: The store.

    Raises:
        UsageError: If it has no such site, or reads less.
        ModelError: If its weights are others.
    """
    model.all_sites()
    limit = model.info.max_tokens
    if limit is not None and max_tokens > limit:
        raise UsageError(f"{model.name} reads at most {limit} tokens.", remedy=f"Use --max-tokens {limit} or fewer.")
    tokenizer = CachedTokenizer(model.adapter.tokenizer(model.weights))
    side = Side(model, tokenizer, model.weights.identity(runtime.store), runtime.store)
    if identity and identity != side.identity:
        raise ModelError(
            f"The weights of {model.name} are not the ones that this experiment was made with.",
            cause="They were replaced since.",
            remedy="Restore them, or remove src_identity and dst_identity from the file to run with the new ones.",
        )
    if model.weights.are_here():
        for note in side.notes:
            runtime.progress.note(note)
    return side
