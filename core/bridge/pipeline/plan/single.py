"""The plan for one model over a corpus, made before the model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Corpus
from bridge.corpus.read import BUNDLED, load_corpus
from bridge.corpus.split import HELD_OUT, assign_folds
from bridge.errors import CorpusError, ModelError, PluginError, StoreError, UsageError
from bridge.files import expand_user
from bridge.files.sealed import read_kept, write_kept
from bridge.models import Tokenizer
from bridge.models.cached_tokenizer import CachedTokenizer
from bridge.models.dtype import AUTO
from bridge.models.quantize import FULL, Quantize, described, need_quantizable, quantised_identity
from bridge.models.resolve import ResolvedModel
from bridge.pipeline.plan.groups import CorpusOptions, ModelOptions
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.placement import placement_of
from bridge.pipeline.plan.remarks import remarks_of, with_original
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.specs import build
from bridge.sources import ActivationBackend, Checkpoint
from bridge.store import Store


@final
@dataclass(frozen=True)
class Side:
    """A model, resolved but not loaded.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        identity: Identity of its weights as they are used, with their quantisation.
        store: The store, which records that the weights are complete.
        activations: Where collected activations come from; None where nothing is collected.
        quantize: The quantisation of its weights when it is loaded.
    """

    model: ResolvedModel
    tokenizer: Tokenizer
    identity: str
    store: Store
    activations: ActivationBackend | None = None
    quantize: Quantize = FULL

    @property
    def checkpoint(self) -> Checkpoint:
        """The model as sources of activations get it."""
        return checkpoint_of(self.model)

    @cached_property
    def source(self) -> dict[str, str]:
        """What decides the bits of collected activations besides the settings; see `ActivationBackend.identity`."""
        return source_identity(self.activations, self.checkpoint) if self.activations else {}

    @cached_property
    def source_notes(self) -> tuple[str, ...]:
        """Notes of the source about the sites of the reference.

        Raises:
            BridgeError: If the source does not serve the model or a site.
        """
        if self.activations is None:
            return ()
        return tuple(self.activations.check(self.checkpoint, self.model.all_sites()))

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes about the weights.

        Raises:
            ModelError: If tensors are missing, or do not belong to the model.
        """
        if self.quantize == FULL:
            return self._read
        said = f"Linear layers of {self.model.name} are in {described(self.quantize)}: its numbers are not those of "
        return (*self._read, f"{said}the full weights.")

    @cached_property
    def _read(self) -> tuple[str, ...]:
        """Notes about reading the weights; empty if they are not on this machine."""
        if not self.model.weights.are_here():
            return ()
        # Complete weights stay complete for the same libraries, so only refused weights are checked again.
        recipe = {
            "model": f"{self.model.adapter.name} {self.identity}",
            "libraries": {name: version(name) for name in ("residual-bridge", "transformers")},
        }
        kept = self.store.artifact("whole-weights", recipe).path / "notes.json"
        if (there := read_kept(kept, list[str])) is not None:
            return tuple(there)
        notes = tuple(self.model.adapter.check_weights(self.model.weights))
        with contextlib.suppress(StoreError):  # without a writable cache, the check is repeated each time
            write_kept(kept, notes)
        return notes


@final
@dataclass(frozen=True)
class ModelPlan:
    """One model and its texts.

    Attributes:
        side: The model.
        corpus: The texts.
        folds: Fold of each document, or `HELD_OUT`, (documents,).
        models: Device and dtype options, with the dtype resolved.
        reading: Truncation of texts, and rows that are left out.
        seed: Random seed.
        activations: The source of its activations, with options.
        remarks: Sentences about texts that are changed or left out when read, with counts.
    """

    side: Side
    corpus: Corpus
    folds: NDArray[np.int64]
    models: ModelOptions
    reading: CorpusOptions
    seed: int
    activations: str
    remarks: tuple[str, ...] = ()

    def training_texts(self) -> Iterator[str]:
        """Yield the texts of the training documents."""
        return (one.text for one, fold in zip(self.corpus.documents, self.folds, strict=True) if fold != HELD_OUT)


def checkpoint_of(model: ResolvedModel) -> Checkpoint:
    """Return a model as sources of activations get it."""
    return Checkpoint(model.name, model.adapter, model.weights, model.info)


def side_of(model: ResolvedModel, models: ModelOptions, runtime: Runtime) -> Side:
    """Return a model as what loads and checks it takes it.

    Raises:
        UsageError: If the model cannot be quantised as the options ask.
    """
    return _side(model, model.adapter.tokenizer(model.weights), models, runtime)


def _side(
    model: ResolvedModel,
    tokenizer: Tokenizer,
    models: ModelOptions,
    runtime: Runtime,
    backend: ActivationBackend | None = None,
) -> Side:
    kind = models.quantize
    if kind != FULL:
        device = placement_of(models).torch_device()
        need_quantizable(kind, model.adapter.name, model.adapter.quantizes, model.weights, device)
    identity = quantised_identity(model.weights.identity(runtime.store), kind)
    return Side(model, tokenizer, identity, runtime.store, backend, kind)


def prepare_model(options: Options, runtime: Runtime, stdin: IO[str] | None = None) -> tuple[Options, ModelPlan]:
    """Resolve the source model and read the corpus; `dst` and the map are ignored.

    Args:
        options: The options.
        runtime: Plugins, store and progress.
        stdin: The stream for a corpus `-`.

    Returns:
        The pinned options (the model by content and absolute path, the corpus by content, the dtype), and the plan.

    Raises:
        UsageError: If a name, layer or option is wrong.
        ModelUnavailableError: If weights are not available.
        CorpusError: If the corpus is unreadable.
    """
    options = with_dtype(options, runtime)
    model = runtime.resolve(options.models.src)
    options = with_defaults(options, [model])
    corpus = read_corpus(options.corpus, runtime, stdin)
    models = options.models
    side = find_side(model, models.src_identity, models.src_activations, models, options.corpus, runtime)
    pinned = options.updated(src=side.model.pinned(), src_identity=side.identity, **pinned_corpus(corpus, runtime))
    folds = split(corpus, options.corpus, options.run.seed)
    remarks = remarks_of(corpus, [side.tokenizer], runtime)
    found = side, corpus, folds, pinned.models, pinned.corpus, pinned.run.seed
    return pinned, ModelPlan(*found, models.src_activations, remarks)


def with_dtype(options: Options, runtime: Runtime) -> Options:
    """Resolve `--dtype auto`, and note the result.

    Raises:
        UsageError: If the device does not exist.
    """
    placement = placement_of(options.models)
    placement.torch_device()
    if options.models.dtype != AUTO:
        return options
    runtime.progress.note(f"Computing in {placement.dtype} (--dtype {AUTO}).")
    return options.updated(dtype=placement.dtype)


def with_defaults(options: Options, models: Sequence[ResolvedModel]) -> Options:
    """Fill in defaults that depend on the models: their own corpus, and their maximal length."""
    limits = [model.info.max_tokens for model in models if model.info.max_tokens is not None]
    most = options.corpus.max_tokens
    max_tokens = most if options.given("max_tokens") else min([most, *limits])
    return options.updated(corpus=corpus_of(options.corpus.source, models), max_tokens=max_tokens)


def corpus_of(asked: str, models: Sequence[ResolvedModel]) -> str:
    """Return the requested corpus, the models' own corpus if both have the same, or the bundled English."""
    corpora = {model.corpus for model in models}
    return asked or (corpora.pop() if len(corpora) == 1 else "") or BUNDLED


def read_corpus(asked: CorpusOptions, runtime: Runtime, stdin: IO[str] | None = None) -> Corpus:
    """Read the corpus.

    Raises:
        CorpusError: If the corpus is unreadable, or its content differs from the hash in the options.
    """
    corpus = _moved(asked, runtime) or load_corpus(asked.source, stdin, asked.max_documents, runtime.registry.corpora)
    if asked.sha256 and corpus.identity != asked.sha256:
        raise CorpusError(
            f"The corpus {asked.source} differs from the corpus that this experiment was made with.",
            cause="Its content has changed.",
            remedy="Restore the corpus, or remove corpus_sha256 from the file to run on the new content.",
        )
    return with_original(corpus) if asked.sha256 else corpus


def _moved(asked: CorpusOptions, runtime: Runtime) -> Corpus | None:
    """Return the named corpus with the requested content, if a package's file has moved from its recorded path."""
    if not asked.sha256 or not Path(asked.source).is_absolute() or Path(asked.source).exists():
        return None
    for name in runtime.registry.corpora:
        corpus = load_corpus(name, None, asked.max_documents, runtime.registry.corpora)
        if corpus.identity == asked.sha256:
            runtime.progress.note(f"{asked.source} no longer exists; the corpus {name} has the same content.")
            return corpus
    return None


def split(corpus: Corpus, asked: CorpusOptions, seed: int) -> NDArray[np.int64]:
    """Assign documents to folds, (documents,)."""
    return assign_folds(corpus, held_out=asked.held_out, folds=asked.folds, kind=asked.split, seed=seed)


def pinned_corpus(corpus: Corpus, runtime: Runtime) -> dict[str, str]:
    """Return options that name the same corpus from any folder."""
    names = {BUNDLED, *runtime.registry.corpora}
    return {"corpus": _from_anywhere(corpus.name, names), "corpus_sha256": corpus.identity}


def _from_anywhere(corpus: str, names: Collection[str]) -> str:
    path = expand_user(corpus)
    return str(path.absolute()) if corpus not in names and path.exists() else corpus


def find_side(
    model: ResolvedModel,
    identity: str,
    activations: str,
    models: ModelOptions,
    reading: CorpusOptions,
    runtime: Runtime,
) -> Side:
    """Check a model's sites, its maximal length, the identity of its weights and the source of its activations.

    Args:
        model: The model.
        identity: Required identity of its weights, or empty.
        activations: The source of its activations, with options.
        models: The quantisation.
        reading: The number of tokens of a text that the model must support.
        runtime: Plugins and the store.

    Raises:
        UsageError: If the model does not have the site, supports fewer tokens, cannot be quantised, or the source does
            not serve it.
        ModelError: If its weights have another identity.
    """
    model.adapter.check_sites(model.weights, model.all_sites())
    limit, max_tokens = model.info.max_tokens, reading.max_tokens
    if limit is not None and max_tokens > limit:
        raise UsageError(f"{model.name} reads at most {limit} tokens.", remedy=f"Use --max-tokens {limit} or fewer.")
    tokenizer = CachedTokenizer(model.adapter.tokenizer(model.weights))
    backend = build(activations, runtime.registry.activation_source)
    side = _side(model, tokenizer, models, runtime, backend)
    if side.quantize != FULL and side.source:
        raise UsageError(
            f"--quantize {side.quantize} is not possible with activations from {backend.name}.",
            cause="The weights that this source runs are its own, and would not be quantised.",
            remedy="Leave out --quantize, or take the activations from transformers.",
        )
    if identity and identity != side.identity:
        raise ModelError(
            f"The weights of {model.name} differ from the weights that this experiment was made with.",
            cause="The weights have been replaced, or --quantize is another.",
            remedy="Restore them, or remove src_identity and dst_identity from the file to run with the new weights.",
        )
    for note in (*side.source_notes, *(side.notes if model.weights.are_here() else ())):
        runtime.progress.note(note)
    return side


def source_identity(backend: ActivationBackend, checkpoint: Checkpoint) -> dict[str, str]:
    """Return what decides the bits of a source's activations.

    Raises:
        PluginError: If the plugin returns anything but texts by name.
    """
    found: Any = backend.identity(checkpoint)
    if isinstance(found, Mapping) and all(isinstance(text, str) for item in found.items() for text in item):
        return {"source": backend.name, **dict(sorted(found.items()))} if found else {}
    raise PluginError(
        f"The source of activations {backend.name} has the identity {found!r}, not texts by name.",
        cause="The plugin is broken.",
        remedy="Run bridge.testing.check_activation_source on it, or choose another source.",
    )
