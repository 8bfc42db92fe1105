"""Test every registered object, law by law, on synthetic data and tiny random weights, without downloads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from bridge.corpus.read import load_corpus
from bridge.dictionaries import DictionaryFormat, SparseAutoencoder, TopK
from bridge.engines import Engine
from bridge.errors import BridgeError, ConformanceError, EngineError, ModelUnavailableError, UsageError
from bridge.models import TransformersAdapter, Weights
from bridge.models.resolve import resolve
from bridge.pipeline.plan.specs import build
from bridge.plugins.registry import Registry
from bridge.progress import Silent
from bridge.readers import ReaderFormat
from bridge.references import parse_site
from bridge.sources import Checkpoint
from bridge.store import Store
from bridge.testing.activation_source import check_activation_source
from bridge.testing.dictionary_format import check_dictionary_format
from bridge.testing.engine import check_engine
from bridge.testing.laws import Laws, Verdict, recording
from bridge.testing.map import check_map
from bridge.testing.model import check_model, check_real_model
from bridge.testing.reader_format import check_reader_format
from bridge.testing.scorer import check_scorer
from bridge.testing.synthetic_subject import TinySubject
from bridge.testing.verbalizer import check_verbalizer

MOST_LAYERS = 1000
"""More layers than any model has: a known reader's model need not be on this machine."""

FINISHES = "only errors that the contract names are raised"


@final
@dataclass(frozen=True)
class Certificate:
    """The test results of one registered object.

    Attributes:
        kind: Kind of the plugin.
        name: Registered name.
        verdicts: One verdict per law, in the order of testing.
        skipped: Why no law could be tested, and the next step; empty if any law was tested.
    """

    kind: str
    name: str
    verdicts: tuple[Verdict, ...] = ()
    skipped: str = ""

    @property
    def broken(self) -> list[Verdict]:
        """The verdicts of broken laws."""
        return [verdict for verdict in self.verdicts if verdict.found]


@final
class _SkippedError(Exception):
    """No law can be tested, because an input is missing."""


def certify(registry: Registry, kind: str, name: str, file: Path | None = None) -> Certificate:
    """Test the laws of one registered object.

    Args:
        registry: Installed plugins.
        kind: One of `bridge.plugins.KINDS`, or `aliases`, `corpora` or `known_readers`.
        name: Registered name.
        file: For a dictionary format, a file or folder in this format; a format that can write needs none. For a reader
            format, a folder in this format; a format with an example needs none.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _tried(kind, name, lambda: _checks(registry, Path(folder), file)[kind](name))


def certify_model(registry: Registry, reference: str, family: str = "") -> Certificate:
    """Test the laws of a model's family on the model's own weights.

    Args:
        registry: Installed plugins.
        reference: Reference of a model on this machine; its site is ignored.
        family: If not empty, the required family of the model.

    Raises:
        UsageError: If the model does not exist, or belongs to another family.
        ModelError: If the model belongs to no family.
    """
    try:
        model = resolve(reference, registry.models, Store(), Silent(), registry.aliases)
    except ModelUnavailableError as error:
        return Certificate("models", reference, skipped=f"Its weights are not on this machine: {error.what}")
    if family not in ("", model.adapter.name):
        raise UsageError(
            f"{model.name} belongs to the family {model.adapter.name}, not to {family}.",
            remedy=f"Use `bridge plugins check {model.adapter.name} --model {reference}`, or leave the name out.",
        )
    title = f"{model.adapter.name} on {model.name}"
    return _tried("models", title, lambda: check_real_model(model.adapter, model.weights))


def _tried(kind: str, name: str, check: Callable[[], None]) -> Certificate:
    with recording() as verdicts:
        try:
            check()
        except _SkippedError as skipped:
            return Certificate(kind, name, skipped=str(skipped))
        except Exception as error:  # an error of the plugin is the result, unless it follows from a broken law
            if not any(verdict.found for verdict in verdicts.values()):
                verdicts[FINISHES] = Verdict(FINISHES, 0, "the check", f"{type(error).__name__}: {error}")
        return Certificate(kind, name, tuple(verdicts.values()))


def _checks(registry: Registry, folder: Path, file: Path | None) -> dict[str, Callable[[str], None]]:
    return {
        "models": lambda name: check_model(registry.models[name], folder),
        "maps": lambda name: check_map(registry.maps[name]),
        "verbalizers": lambda name: _check_verbalizer(registry, name, folder),
        "scorers": lambda name: check_scorer(registry.scorers[name]),
        "dictionary_formats": lambda name: _check_format(registry.dictionary_formats[name], folder, file),
        "reader_formats": lambda name: _check_reader(registry.reader_formats[name], folder, file),
        "activation_sources": lambda name: _check_source(registry, name, folder),
        "engines": lambda name: _check_engine(registry.engines[name]),
        "aliases": lambda name: _check_alias(registry, name, folder),
        "corpora": lambda name: _check_corpus(registry, name),
        "known_readers": lambda name: _check_known_reader(registry, name),
    }


def _check_alias(registry: Registry, name: str, folder: Path) -> None:
    laws, alias = Laws(f"The alias {name}", "bridge.models.Alias"), registry.aliases[name]
    if alias.corpus:
        known = alias.corpus in registry.corpora or Path(alias.corpus).exists()
        laws.require(known, "its corpus is a named corpus or an existing path", alias.corpus, "it is neither")
    try:
        model = resolve(name, registry.models, Store(folder), Silent(), registry.aliases)
    except ModelUnavailableError as error:
        raise _SkippedError(f"Its weights are not on this machine: {error.what}") from error
    if model.site:
        model.all_sites()
    laws.require(True, "a family claims its weights and has its site", alias.model, "")


def _check_corpus(registry: Registry, name: str) -> None:
    found = load_corpus(name, max_documents=1, named=registry.corpora)
    laws = Laws(f"The corpus {name}", "bridge.models.NamedCorpus")
    laws.require(bool(found.documents), "it can be read and has text", registry.corpora[name], "it is empty")


def _check_known_reader(registry: Registry, name: str) -> None:
    laws, reader = Laws(f"The known reader {name}", "bridge.verbalizers.KnownReader"), registry.known_readers[name]
    try:
        build(reader.verbalizer, registry.verbalizer)
        fault = ""
    except UsageError as error:
        fault = str(error)
    laws.require(not fault, "its verbalizer is installed, and has its options", reader.verbalizer, fault)
    for site in reader.sites:
        laws.require(_is_site(site), "its sites are sites", site, "it is none")
    laws.require("http" in reader.source, "its source is an address", reader.source, "it is none")


def _is_site(text: str) -> bool:
    try:
        parse_site(text, MOST_LAYERS)
    except UsageError:
        return False
    return True


def _family(registry: Registry) -> TransformersAdapter:
    """Return a family whose tiny random model stands for a language model."""
    for adapter in registry.models.values():
        plain = isinstance(adapter, TransformersAdapter) and adapter.causal and not adapter.fallback
        if plain and isinstance(adapter, TransformersAdapter) and not adapter.corpus():
            return adapter
    raise _SkippedError("No model family is enabled to open the plugin on. Enable one, such as llama.")


def _check_source(registry: Registry, name: str, folder: Path) -> None:
    family = _family(registry)
    weights = Weights(str(family.write_tiny_checkpoints(folder.absolute())[0]))
    model = Checkpoint(Path(weights.source).name, family, weights, family.describe(weights))
    try:
        check_activation_source(registry.activation_sources[name](), model)
    except ConformanceError:
        raise
    except BridgeError as error:  # by the contract, the model is not served, or something is not installed
        raise _SkippedError(
            f"It serves no tiny {family.name} with its default options: {error.what} "
            "Call bridge.testing.check_activation_source in your own test, with a model that it serves."
        ) from error


def _check_verbalizer(registry: Registry, name: str, folder: Path) -> None:
    family = _family(registry)
    subject = TinySubject(family, folder)
    try:
        verbalizer = registry.verbalizers[name]().open(subject)
    except BridgeError as error:  # by the contract, a checkpoint, a server or an option is missing
        raise _SkippedError(
            f"It does not open on a tiny {family.name} with its default options: {error.what} "
            "Open it on a small model in your own test, and call bridge.testing.check_verbalizer."
        ) from error
    check_verbalizer(verbalizer)


def _check_format(fmt: DictionaryFormat, folder: Path, file: Path | None) -> None:
    if file is None:
        try:
            file = fmt.example(folder / "dictionary", _tiny_dictionary())
        except BridgeError as error:
            raise _SkippedError(f"{error.what} Give a dictionary of this format: --file PATH.") from error
    check_dictionary_format(fmt, file)


def _check_reader(fmt: ReaderFormat, folder: Path, file: Path | None) -> None:
    if file is None:
        file = folder / "reader"
        try:
            fmt.example(file)
        except BridgeError as error:
            raise _SkippedError(f"{error.what} Give a reader of this format: --file FOLDER.") from error
    check_reader_format(fmt, file)


def _check_engine(kind: type[Engine]) -> None:
    try:
        check_engine(kind())
    except (UsageError, EngineError) as error:  # by the contract, its package or its cluster is missing
        raise _SkippedError(f"It does not open with its default options: {error.what} {error.remedy}") from error


def _tiny_dictionary() -> SparseAutoencoder:
    rng = np.random.default_rng(0)
    encoder, directions = (rng.normal(size=shape).astype(np.float32) for shape in ((6, 20), (20, 6)))
    encoder_bias, decoder_bias = (rng.normal(size=size).astype(np.float32) for size in (20, 6))
    return SparseAutoencoder(encoder, encoder_bias, directions, decoder_bias, TopK(3), shift=decoder_bias)
