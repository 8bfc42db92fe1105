"""What is on this machine of the real experiment, checked part by part; a wrong part hides no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, final

from bridge.corpus.read import BUNDLED, HUB, load_corpus
from bridge.dictionaries import Dictionary
from bridge.errors import ModelUnavailableError, UsageError
from bridge.pipeline.plan.groups import TRANSFORMERS
from bridge.pipeline.plan.idle import OF_EXPLANATIONS, refuse_idle
from bridge.pipeline.plan.options import Options, declared
from bridge.pipeline.plan.placement import placement_of
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.single import corpus_of
from bridge.pipeline.plan.specs import build, build_map, build_washout
from bridge.pipeline.score.judge import LSA, load_judge
from bridge.pipeline.score.thresholds import refuse_unmeasured
from bridge.pipeline.transfer.dictionaries import OWN
from bridge.references import parse_reference
from bridge.rehearsal.command import Command
from bridge.rehearsal.dictionaries import checked, is_here
from bridge.rehearsal.models import Described, described, name_of
from bridge.rehearsal.readers import Found, found_for
from bridge.rehearsal.stages import Problems
from bridge.scorers import Need

ELSEWHERE = "66%"
"""Where a model is read if the experiment's own layer does not exist."""


@final
@dataclass
class Real:
    """What was found of the real experiment.

    Attributes:
        options: The experiment with defaults in the place of what is wrong.
        command: The command.
        models: The models by side; without those whose configurations are not here.
        dictionaries: The real dictionaries by side; without those that are not here, or wrong.
        readers: The verbalizers by side; without those that are wrong.
        corpus: What the corpus is called.
        tokens: Tokens of the corpus; an upper bound if it is not here.
        exact: Whether the corpus was read, so that its tokens are counted from its characters.
        encoder: Whether the sentence encoder is here.
        unchecked: What could not be checked, a sentence each.
    """

    options: Options
    command: Command
    models: dict[str, Described] = field(default_factory=dict)
    dictionaries: dict[str, Dictionary] = field(default_factory=dict)
    readers: dict[str, Found] = field(default_factory=dict)
    corpus: str = BUNDLED
    tokens: int = 0
    exact: bool = False
    encoder: bool = False
    unchecked: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every model was found."""
        return set(self.models) == set(self.command.references)


CHARACTERS_PER_TOKEN = 4.3
"""As in a dry run: of English, for vocabularies of 50k to 260k tokens."""


def look(
    command: Command,
    runtime: Runtime,
    folder: Path,
    problems: Problems,
    given: Sequence[str],
    require: Sequence[tuple[str, float]],
) -> Real:
    """Find and check every part of an experiment without a network.

    Args:
        command: The command.
        runtime: Plugins and the user's store.
        folder: For configurations that families bring.
        problems: Receives what is wrong.
        given: Names of options that were set by flags.
        require: Metrics with thresholds.
    """
    options = command.options
    real = Real(options, command)
    if command.idle and problems.tried("options", partial(_has_effect, options, given)) is None:
        real.options = options.updated(**{name: declared()[name][2].get_default() for name in OF_EXPLANATIONS})
    for stage, check in command.checks.items():
        problems.tried(stage, check)
    _options(real, runtime, problems, require)
    for side, text in command.references.items():
        _model(real, side, text, runtime, folder, problems)
    _complete(real, runtime, problems)
    if command.corpus:
        real.corpus = corpus_of(options.corpus.source, [one.model for one in real.models.values()])
        _corpus(real, runtime, problems)
    for side, reference in command.dictionaries.items():
        if side in real.models:
            _dictionary(real, side, reference, runtime, problems)
    for side in command.explained:
        if side in real.models:
            _reader(real, side, real.models[side], runtime, problems)
    if command.judged:
        _encoder(real)
    return real


def _has_effect(options: Options, given: Sequence[str]) -> bool:
    """Refuse options without effect.

    Raises:
        UsageError: Naming them.
    """
    refuse_idle(options, given)
    return True


def _options(real: Real, runtime: Runtime, problems: Problems, require: Sequence[tuple[str, float]]) -> None:
    options = real.options
    kind = problems.tried("map", lambda: build_map(options.map, runtime.registry))
    washouts = [text for text in options.verbalize.washout if problems.tried("washout", partial(build_washout, text))]
    explained = {Need.EXPLANATIONS: options.dictionary.reference, Need.READINGS: options.verbalize.positions}
    asked = {need for need, wanted in explained.items() if wanted}
    if require:
        problems.tried("require", lambda: refuse_unmeasured(require, runtime.registry.scorers, asked))
    changes: dict[str, Any] = {} if kind else {"map": declared()["map"][2].get_default()}
    if len(washouts) < len(options.verbalize.washout):
        changes["washout"] = tuple(washouts) or ("none",)
    for name in ("src_activations", "dst_activations"):
        text = getattr(options.models, name)
        backend = problems.tried("activations", partial(build, text, runtime.registry.activation_source))
        if text != TRANSFORMERS:
            changes[name] = TRANSFORMERS
            if backend:
                real.unchecked.append(
                    f"The source of activations {backend.name} was not tried: the stand-ins ran in transformers. "
                    "--dry-run says whether it serves the model and the site."
                )
    try:
        placement_of(options.models).torch_device()
    except UsageError:
        real.unchecked.append(
            f"There is no device {options.models.device} here: the rehearsal ran on the best one of this machine."
        )
        changes["device"] = "auto"
    real.options = options.updated(**changes)


def _model(real: Real, side: str, text: str, runtime: Runtime, folder: Path, problems: Problems) -> None:
    stage = name_of(side, "model")
    one = problems.tried(stage, lambda: described(text, runtime, folder))
    if one is None:
        return
    if one.model.site and not problems.tried(stage, partial(_has_sites, one)):
        reference = one.model.reference
        elsewhere = f"{reference.model}{f':{reference.variant}' if reference.variant else ''}@{ELSEWHERE}"
        one = problems.tried(stage, lambda: described(elsewhere, runtime, folder))
        real.unchecked.append(f"The {stage} was rehearsed @{ELSEWHERE}, because the layer in the experiment is wrong.")
    if one is None:
        return
    real.models[side] = one
    limit, asked = one.model.info.max_tokens, real.options.corpus.max_tokens
    if limit is not None and real.options.given("max_tokens") and asked > limit:
        problems.add(stage, f"{one.model.name} reads at most {limit} tokens. Use --max-tokens {limit} or fewer.")


def _complete(real: Real, runtime: Runtime, problems: Problems) -> None:
    """Fill in what the command finds out of the models: the site that a published reader reads."""
    complete, found = real.command.complete, {side: one.model for side, one in real.models.items()}
    if complete and real.whole:
        done = problems.tried("destination verbalizer", lambda: complete(real.options, found, runtime))
        real.options = done or real.options
        site = parse_reference(real.options.models.dst).site
        if site and site != found["dst"].site:
            real.models["dst"] = replace(real.models["dst"], model=replace(found["dst"], site=site))
    for side, one in found.items():
        if not one.site and not real.models[side].model.site:
            problems.tried(name_of(side, "model"), one.all_sites)
            del real.models[side]


def _has_sites(one: Described) -> bool:
    """Check the layers, and modules that are named by path.

    Raises:
        UsageError: If the model has no such site.
    """
    one.model.adapter.check_sites(one.model.weights, one.model.all_sites())
    return True


def _corpus(real: Real, runtime: Runtime, problems: Problems) -> None:
    asked = real.options.corpus
    if real.corpus == "-" or real.corpus.startswith(HUB):
        where = "is read from standard input" if real.corpus == "-" else "is on the hub"
        real.unchecked.append(f"The corpus {real.corpus} {where}: it was not read; bundled English stood for it.")
        documents = asked.max_documents or 0
        real.tokens = documents * asked.max_tokens
        return
    named = runtime.registry.corpora
    corpus = problems.tried("corpus", lambda: load_corpus(real.corpus, None, asked.max_documents, named))
    if corpus is None:
        real.corpus = BUNDLED
        return
    lengths = (min(len(one.text) / CHARACTERS_PER_TOKEN, asked.max_tokens) for one in corpus.documents)
    real.tokens, real.exact = int(sum(lengths)), True


def _dictionary(real: Real, side: str, reference: str, runtime: Runtime, problems: Problems) -> None:
    model, any_model = real.models[side].model, real.options.dictionary.allow_other_model
    if reference == OWN:
        return
    if reference.startswith(HUB) and not is_here(reference):
        real.unchecked.append(
            f"The dictionary {reference} is not on this machine: its format, width, site and model were not checked. "
            "The real run fetches it."
        )
        return
    stage = "dictionary" if side == "src" else name_of(side, "dictionary")
    found = problems.tried(stage, lambda: checked(reference, model, any_model, runtime.registry))
    if found is not None:
        real.dictionaries[side] = found


def _reader(real: Real, side: str, one: Described, runtime: Runtime, problems: Problems) -> None:
    stage = name_of(side, "verbalizer")
    text = getattr(real.options.verbalize, f"{side}_verbalizer")
    found = problems.tried(stage, lambda: found_for(text, one.model, runtime))
    if found:
        real.readers[side] = found
    if found and not found.here:
        said = "only its published site and model were" if found.known else "nothing of it was"
        real.unchecked.append(
            f"The small files of the {stage} {found.named} are not on this machine: {said} checked, and its prompt and "
            "scale were not."
        )


def _encoder(real: Real) -> None:
    name = real.options.score.encoder
    try:
        real.encoder = name == LSA or bool(load_judge(name, [], real.options.run.seed))
    except ModelUnavailableError:
        real.unchecked.append(
            f"The sentence encoder {name or 'all-MiniLM-L6-v2'} is not on this machine: `lsa` judged in its place."
        )
