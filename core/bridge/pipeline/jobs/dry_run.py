"""Dry run: downloads, models, time, memory and problems of a run; only small local weights are read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from bridge.corpus.read import load_corpus
from bridge.errors import BridgeError, UsageError
from bridge.models.dtype import AUTO
from bridge.models.quantize import need_quantizable, quantised_identity
from bridge.models.resolve import ResolvedModel
from bridge.pipeline.plan.groups import CorpusOptions, DictionaryOptions, ModelOptions
from bridge.pipeline.plan.idle import refuse_idle
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.placement import placement_of
from bridge.pipeline.plan.provenance import said
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.self_check import SMALL, tried
from bridge.pipeline.plan.single import checkpoint_of, corpus_of, side_of, source_identity
from bridge.pipeline.plan.specs import build, build_map, build_washout
from bridge.pipeline.transfer.dictionaries import OWN, check_belongs, open_own
from bridge.pipeline.verbalize.find import find_verbalizer

CHARACTERS_PER_TOKEN = 4.3
"""Characters per token of English, for vocabularies of 50k to 260k tokens; measured on the bundled corpus."""

FLOPS = {"cpu": 0.1e12, "mps": 5e12, "cuda": 200e12}
"""Assumed operations per second of forward passes; CPU: float32, two cores with AVX2."""

CPU_BFLOAT16 = 0.3e12
"""The same for two CPU cores with bfloat16 instructions, measured."""

ARMS = 5
GIB = 2**30


def dry_run(options: Options, runtime: Runtime, given: Collection[str] = ()) -> dict[str, Any]:
    """Find everything that a run needs, check small files, and estimate memory and time.

    Args:
        options: Options of the run.
        runtime: Plugins, store and progress.
        given: Names of options that were set by flags.

    Returns:
        `models`, `activations`, `verbalizers`, `dictionary`, `corpus` and `estimates` as JSON, and `problems`, which
        would stop the run.
    """
    problems: list[str] = []

    def attempt(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except BridgeError as error:
            problems.append(str(error))
            return None

    attempt(lambda: refuse_idle(options, given))
    kind = attempt(lambda: build_map(options.map, runtime.registry))
    attempt(lambda: [build_washout(text) for text in options.verbalize.washout])
    models = {
        "src": attempt(lambda: runtime.resolve(options.models.src)),
        "dst": attempt(lambda: runtime.resolve(options.models.dst)),
    }
    found = {side: attempt(partial(_model, model, options.models, runtime)) for side, model in models.items() if model}
    sources = {"src": options.models.src_activations, "dst": options.models.dst_activations}
    served = {side: attempt(partial(_source, sources[side], model, runtime)) for side, model in models.items() if model}
    corpus = attempt(lambda: _corpus(options.corpus, [model for model in models.values() if model], runtime))
    result: dict[str, Any] = {"models": found, "activations": served, "corpus": corpus}
    if options.dictionary.reference or options.verbalize.positions:
        texts = {"src": options.verbalize.src_verbalizer, "dst": options.verbalize.dst_verbalizer}
        result["verbalizers"] = {
            side: attempt(partial(_verbalizer, texts[side], model, options.models, runtime))
            for side, model in models.items()
            if model
        }
    if options.dictionary.reference:
        result["dictionary"] = attempt(lambda: _dictionary(options.dictionary, models["src"], runtime))
    if kind and all(models.values()):
        attempt(lambda: kind.check_widths(models["src"].info.d_model, models["dst"].info.d_model))
    if corpus and len(found) == len(models) and all(found.values()):
        result["estimates"] = _estimates(options, found, corpus)
    return result | {"problems": problems}


def _model(model: ResolvedModel, options: ModelOptions, runtime: Runtime) -> dict[str, Any]:
    site = model.single_site()
    model.adapter.check_sites(model.weights, [site])
    adapter, device = model.adapter, _placed(options)[0]
    need_quantizable(options.quantize, adapter.name, adapter.quantizes, model.weights, device)
    here = model.weights.are_here()
    notes = model.adapter.check_weights(model.weights) if here else ()
    count = model.adapter.parameters(model.weights)
    small = (count or 0) <= SMALL and _is_here(options) and bool(model.weights.tensor_files(fetch=False))
    size = 4 if _placed(options)[1] == "float32" else 2
    return {
        "reference": model.label(site),
        "family": model.adapter.name,
        "weights": model.weights.source,
        "here": here,
        "notes": [*notes, *([_perplexity(model, options, runtime)] if small else [])],
        "d_model": model.info.d_model,
        "depth": [site.layer + 1, model.info.n_layers],
        "parameters": count,
        "memory_gib": None if count is None else round(count * size / GIB, 1),
    }


def _source(text: str, model: ResolvedModel, runtime: Runtime) -> dict[str, Any]:
    """Return where a model's activations would come from.

    Raises:
        BridgeError: If the source does not serve the model or the site, or is not ready.
    """
    backend = build(text, runtime.registry.activation_source)
    checkpoint = checkpoint_of(model)
    notes = backend.check(checkpoint, [model.single_site()])
    return {"source": backend.name} | source_identity(backend, checkpoint) | {"notes": list(notes)}


def _perplexity(model: ResolvedModel, options: ModelOptions, runtime: Runtime) -> str:
    """Return the model's perplexity on a text of its training domain.

    Raises:
        ModelError: If the model is not trained, and untrained models are not allowed.
    """
    return f"{model.name}: {tried(side_of(model, options, runtime), options, runtime)}."


def _is_here(options: ModelOptions) -> bool:
    try:
        placement_of(options).torch_device()
    except UsageError:
        return False
    return True


def _corpus(asked: CorpusOptions, models: Sequence[ResolvedModel], runtime: Runtime) -> dict[str, Any]:
    corpus = load_corpus(corpus_of(asked.source, models), None, asked.max_documents, runtime.registry.corpora)
    tokens = sum(min(len(one.text) / CHARACTERS_PER_TOKEN, asked.max_tokens) for one in corpus.documents)
    return {"name": corpus.name, "documents": len(corpus.documents), "tokens": int(tokens)} | said(corpus.remarks)


def _verbalizer(text: str, model: ResolvedModel, options: ModelOptions, runtime: Runtime) -> dict[str, Any]:
    identity = quantised_identity(model.weights.identity(runtime.store), options.quantize)
    named, kind = find_verbalizer(text, model, identity, runtime.registry)
    return {"name": named, "loads": kind.preview(model.info.d_model)}


def _dictionary(asked: DictionaryOptions, model: ResolvedModel | None, runtime: Runtime) -> dict[str, Any]:
    if not model:
        return {"reference": asked.reference}
    any_model = asked.allow_other_model or asked.reference == OWN
    found = open_own(asked.reference, model, runtime.registry)
    found = check_belongs(found, model, model.single_site(), any_model=any_model)
    features, d_model = found.directions.shape
    said = {"reference": asked.reference, "features": features, "d_model": d_model, "explained": asked.features}
    return said | {"notes": list(found.origin.notes)}


def _estimates(options: Options, models: dict[str, Any], corpus: dict[str, Any]) -> dict[str, Any]:
    """Estimate hours of forward passes, and bytes of the cache, as orders of magnitude."""
    device, dtype = _placed(options.models)
    size = 4 if dtype == "float32" else 2
    asked, features = options.verbalize, options.dictionary.features if options.dictionary.reference else 0
    reached = CPU_BFLOAT16 if (device, dtype) == ("cpu", "bfloat16") else FLOPS[device]
    flops = sum(
        2 * (one["parameters"] or 0) * one["depth"][0] / one["depth"][1] * corpus["tokens"] for one in models.values()
    )
    return {
        "device": device,
        "dtype": dtype,
        "assumed_flops_per_second": reached,
        "collect_hours": round(flops / reached / 3600, 3),
        "cache_gib": round(sum(one["d_model"] for one in models.values()) * corpus["tokens"] * size / GIB, 2),
        "largest_model_gib": max(one["memory_gib"] or 0 for one in models.values()),
        "explanations": asked.positions * (2 + ARMS) + features * (1 + ARMS) * len(asked.washout),
    }


def _placed(models: ModelOptions) -> tuple[str, str]:
    """Return the kind of device and the dtype; `auto` on a missing device counts as bfloat16."""
    try:
        placement = placement_of(models)
        device = placement.torch_device() if models.device == "auto" else models.device
    except UsageError:
        return models.device.partition(":")[0], models.dtype if models.dtype != AUTO else "bfloat16"
    return device.partition(":")[0], placement.dtype
