"""What a run would fetch, load and take, and what stands against it, without loading a weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from bridge.corpus.read import load_corpus
from bridge.errors import BridgeError, UsageError
from bridge.models.dtype import AUTO
from bridge.models.resolve import ResolvedModel
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.plan import corpus_of
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.specs import build_washout
from bridge.pipeline.transfer.dictionaries import check_belongs, open_own
from bridge.pipeline.verbalize.find import find_verbalizer

CHARACTERS_PER_TOKEN = 4.3
"""Of English, with vocabularies of 50k to 260k tokens; measured on the bundled corpus."""

FLOPS = {"cpu": 0.1e12, "mps": 5e12, "cuda": 200e12}
"""What forward passes are taken to reach, a second; on a CPU in float32, with two cores that have AVX2; all assumed."""

CPU_BFLOAT16 = 0.3e12
"""The same of two CPU cores with bfloat16 instructions, measured."""

ARMS = 5
GIB = 2**30


def dry_run(options: Options, runtime: Runtime) -> dict[str, Any]:
    """Find everything that a run needs, check what small files can tell, and estimate memory and time.

    Returns:
        `models`, `verbalizers`, `dictionary`, `corpus` and `estimates` as JSON, and `problems`: what stands in the way.
    """
    problems: list[str] = []

    def attempt(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except BridgeError as error:
            problems.append(str(error))
            return None

    attempt(lambda: options.build_map(runtime.registry))
    attempt(lambda: [build_washout(text) for text in options.washout])
    models = {
        "src": attempt(lambda: runtime.resolve(options.src)),
        "dst": attempt(lambda: runtime.resolve(options.dst)),
    }
    found = {side: attempt(partial(_model, model, options)) for side, model in models.items() if model}
    corpus = attempt(lambda: _corpus(options, [model for model in models.values() if model], runtime.registry.corpora))
    result: dict[str, Any] = {"models": found, "corpus": corpus}
    if options.dictionary or options.positions:
        texts = {"src": options.src_verbalizer, "dst": options.dst_verbalizer}
        result["verbalizers"] = {
            side: attempt(partial(_verbalizer, texts[side], model, runtime)) for side, model in models.items() if model
        }
    if options.dictionary:
        result["dictionary"] = attempt(lambda: _dictionary(options, models["src"], runtime))
    if corpus and len(found) == len(models) and all(found.values()):
        result["estimates"] = _estimates(options, found, corpus)
    return result | {"problems": problems}


def _model(model: ResolvedModel, options: Options) -> dict[str, Any]:
    site = model.single_site()
    count = model.adapter.parameters(model.weights)
    size = 4 if _placed(options)[1] == "float32" else 2
    return {
        "reference": model.label(site),
        "family": model.adapter.name,
        "weights": model.weights.source,
        "here": model.weights.are_here(),
        "d_model": model.info.d_model,
        "depth": [site.layer + 1, model.info.n_layers],
        "parameters": count,
        "memory_gib": None if count is None else round(count * size / GIB, 1),
    }


def _corpus(options: Options, models: Sequence[ResolvedModel], named: Mapping[str, str]) -> dict[str, Any]:
    corpus = load_corpus(corpus_of(options, models), None, options.max_documents, named)
    tokens = sum(min(len(one.text) / CHARACTERS_PER_TOKEN, options.max_tokens) for one in corpus.documents)
    return {"name": corpus.name, "documents": len(corpus.documents), "tokens": int(tokens)}


def _verbalizer(text: str, model: ResolvedModel, runtime: Runtime) -> dict[str, Any]:
    named, kind = find_verbalizer(text, model, model.weights.identity(runtime.store), runtime.registry)
    return {"name": named, "loads": kind.preview(model.info.d_model)}


def _dictionary(options: Options, model: ResolvedModel | None, runtime: Runtime) -> dict[str, Any]:
    if not model:
        return {"reference": options.dictionary}
    dictionary = check_belongs(open_own(options.dictionary, model, runtime.registry), model, model.single_site())
    features, d_model = dictionary.directions.shape
    return {"reference": options.dictionary, "features": features, "d_model": d_model, "explained": options.features}


def _estimates(options: Options, models: dict[str, Any], corpus: dict[str, Any]) -> dict[str, Any]:
    """Estimate hours of forward passes, and bytes of what is kept; all orders of magnitude."""
    device, dtype = _placed(options)
    size = 4 if dtype == "float32" else 2
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
        "explanations": options.positions * (2 + ARMS)
        + (options.features * (1 + ARMS) * len(options.washout) if options.dictionary else 0),
    }


def _placed(options: Options) -> tuple[str, str]:
    """Return the kind of device and the dtype; `auto` on a device that is not here is taken to be bfloat16."""
    try:
        placement = options.placement()
        device = placement.torch_device() if options.device == "auto" else options.device
    except UsageError:
        return options.device.partition(":")[0], options.dtype if options.dtype != AUTO else "bfloat16"
    return device.partition(":")[0], placement.dtype
