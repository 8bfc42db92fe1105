"""Steering vectors of one model in another: native, raw, mapped and random vectors, at several doses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from markupsafe import Markup

from bridge.collect.memory import forget_models
from bridge.corpus.documents import Document
from bridge.display import notebook
from bridge.errors import BridgeError, UsageError
from bridge.geometry import with_lengths_of
from bridge.maps import check_width
from bridge.metrics import Metric, document
from bridge.models import LoadedModel
from bridge.models.loaded import need_room
from bridge.models.resolve import ResolvedModel
from bridge.pairing.align import Encoded
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.plan.groups import ModelOptions
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.provenance import said, versions
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.plan.self_check import load_checked, untrained_notes, with_untrained
from bridge.pipeline.plan.single import side_of
from bridge.pipeline.result import Scored, headline
from bridge.pipeline.score.steering import Dose, Floats, SteeredModel, last_token_batches, readable, steering_metrics
from bridge.pipeline.transfer.contrast import Contrast, LabelledRows
from bridge.progress import Progress
from bridge.references import Site
from bridge.scorers import MAPPED, NATIVE, RANDOM_DIRECTION, RAW

RANDOM_DIRECTIONS = 5
"""Number of random directions whose effects are averaged for each text, because a single random direction can have an
effect by chance. The interval is over texts, as for every arm, and does not cover the variation among directions."""


@final
@dataclass(frozen=True)
class Steering(Scored):
    """The effects of steering.

    Attributes:
        metrics: For each dose and arm `log_odds_shift@DOSE`, `kl@DOSE` and `transfer_ratio@DOSE`; intervals are over
            the tested texts.
        generated: The generated texts of each prompt, by arm; `plain` is without steering.
        provenance: Bridge, contrast, doses and versions.
    """

    metrics: list[Metric]
    generated: list[dict[str, str]]
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        about = self.provenance
        return f"Steering({about['src']} -> {about['dst']}, {about['map']}: {headline(self.metrics)})"

    def document(self) -> dict[str, object]:
        """Return the result as a document, as `bridge steer --out` writes it.

        Returns:
            `schema`, `bridge` (the provenance), `metrics` and `generated`, ready for `json.dump`.
        """
        return document(self.metrics, self.provenance) | {"generated": self.generated}

    def _shown(self) -> list[Markup]:
        parts = [notebook.doses(self.metrics)]
        for texts in self.generated:
            rows = [[arm, text] for arm, text in texts.items() if arm != "prompt"]
            parts.append(notebook.table(texts["prompt"], ["arm", "generates"], rows))
        return parts


def steer(
    bridge: Bridge,
    contrast: Contrast,
    dose: Dose,
    progress: Progress | None = None,
    rows: LabelledRows | None = None,
) -> Steering:
    """Make a difference-of-means vector in both models, map the source's vector, and steer the destination.

    The vector is mean(first class) - mean(second class) of the activations at the last token of the training texts.
    Every arm's vector is scaled to the native vector's length, so that arms differ in direction only. Each tested text
    is steered at every token towards the other class.

    Args:
        bridge: The bridge from the source's site to the destination's.
        contrast: Texts of two classes.
        dose: The steering settings.
        progress: Receives every stage.
        rows: Activations at the source's site, (n, d_src), that replace the texts for the source's vector; the source
            model is then not run. The destination's own vector still comes from the texts.

    Raises:
        BridgeError: If a model is not available, the two classes do not differ in a model, the destination is an
            encoder, or it cannot continue a prompt.
        ShapeError: If the rows have another width than the source.
    """
    runtime = open_runtime(progress)
    if rows is not None:
        check_width(rows.rows, bridge.fitted.d_src, f"The tensor rows of {rows.name}")
    dst = runtime.resolve(bridge.dst)
    site = dst.single_site()
    dst.need_next_token()
    src = None if rows is not None else runtime.resolve(bridge.src)
    remarks = [*contrast.remarks, *(_read_otherwise(src, contrast, dose) if src else [])]
    remarks += _read_otherwise(dst, contrast, dose)
    prompts, cut = _prompts(dst, dose)
    if cut:
        remarks.append(f"{cut} of {len(prompts)} prompts are longer than {dose.max_tokens} tokens and are cut there.")
    remarks = list(dict.fromkeys(remarks))
    for remark in remarks:
        runtime.progress.note(remark)
    if rows is not None:
        given = _told_apart(rows.difference(), rows.name)
    else:
        given = _source_vector(bridge, contrast, dose, runtime)
    models = _models(bridge, dose)
    live = _load(dst, models, runtime)
    vectors = _vectors(bridge, given, _difference(live, site, contrast, dose), dose.seed)
    steered = SteeredModel(live, site, contrast, dose)
    metrics = _effects(bridge, steered, vectors, dose, runtime)
    texts = steered.generate(dose.prompts, prompts, vectors, max(dose.doses))
    generation = {"new_tokens": dose.new_tokens, "ends": sorted(live.ends), "prompts_cut": cut}
    provenance = _provenance(bridge, contrast, rows, dose) | {"generation": generation, "versions": versions()}
    sides = [side_of(model, models, runtime) for model in (src, dst) if model]
    return Steering(metrics, texts, with_untrained(provenance | said(remarks), sides, models, runtime))


def _effects(
    bridge: Bridge, steered: SteeredModel, vectors: dict[str, Floats], dose: Dose, runtime: Runtime
) -> list[Metric]:
    """Steer by every arm's vectors at every dose."""
    metrics: list[Metric] = []
    with runtime.progress.stage("steer", len(dose.doses) * len(vectors), "arms") as advance:
        for alpha in dose.doses:
            effects = {}
            for arm, some in vectors.items():
                effects[arm] = steered.effects(alpha * some)
                advance()
            metrics += steering_metrics((bridge.map, bridge.src, bridge.dst), effects, alpha, dose.seed)
    return metrics


def _provenance(bridge: Bridge, contrast: Contrast, rows: LabelledRows | None, dose: Dose) -> dict[str, Any]:
    return {
        "src": bridge.src,
        "dst": bridge.dst,
        "map": bridge.map,
        "contrast": {"name": contrast.name, "classes": list(contrast.classes), "tested": int(contrast.tested.sum())},
        "vector_from": contrast.name if rows is None else rows.name,
        "doses": list(dose.doses),
        "seed": dose.seed,
        "device": dose.placement.torch_device(),
        "dtype": dose.placement.dtype,
        "quantize": _models(bridge, dose).quantize,
    }


def _models(bridge: Bridge, dose: Dose) -> ModelOptions:
    device, dtype = dose.placement.device, dose.placement.dtype
    quantize = bridge.provenance.get("options", {}).get("quantize")  # the models as the bridge was fitted on them
    given = make_options(
        src=bridge.src, device=device, dtype=dtype, quantize=quantize, allow_untrained=dose.allow_untrained
    )
    return given.models


def _load(model: ResolvedModel, models: ModelOptions, runtime: Runtime) -> LoadedModel:
    runtime.progress.note(f"Loading {model.name} in {models.dtype}.")
    side = side_of(model, models, runtime)
    loaded = load_checked(side, models, runtime)
    for note in untrained_notes(side, models, runtime):
        runtime.progress.note(note)
    return loaded


def _source_vector(bridge: Bridge, contrast: Contrast, dose: Dose, runtime: Runtime) -> Floats:
    src = runtime.resolve(bridge.src)
    site = src.single_site()
    given = _difference(_load(src, _models(bridge, dose), runtime), site, contrast, dose)
    forget_models()
    return given


def _difference(model: LoadedModel, site: Site, contrast: Contrast, dose: Dose) -> Floats:
    """Return mean(first) - mean(second) at the last token of the training texts, (d_model,) float64."""
    limit = readable(dose.max_tokens, model.max_tokens)
    rows = np.concatenate(
        [
            model.activations(ids, mask, [site])[0][range(len(last)), last].float().cpu().numpy().astype(np.float64)
            for ids, mask, last in last_token_batches(model, contrast.documents, limit)
        ]
    )
    making = ~contrast.tested
    difference: Floats = rows[making & contrast.first].mean(0) - rows[making & ~contrast.first].mean(0)
    cause = "Their texts end in the same tokens, and the model's activations there do not differ."
    return _told_apart(difference, f"{contrast.name} in {model.name} at {site}", cause)


def _told_apart(difference: Floats, where: str, cause: str = "") -> Floats:
    if not np.isfinite(difference).all() or not difference.any():
        raise BridgeError(f"The means of the two classes of {where} do not differ, or overflow.", cause=cause)
    return difference


def _read_otherwise(model: ResolvedModel, contrast: Contrast, dose: Dose) -> list[str]:
    """Return remarks about texts that the model's tokenizer changes or cuts."""
    tokenizer, limit = model.adapter.tokenizer(model.weights), readable(dose.max_tokens, model.info.max_tokens)
    found = tokenizer.remarks([*contrast.documents, *map(_document, dose.prompts)])
    encoded = tokenizer.encode(contrast.documents, limit)
    cut = sum(one.is_cut(text.text, limit) for text, one in zip(contrast.documents, encoded, strict=True))
    if cut:
        found.append(
            f"{cut} of {len(encoded)} texts of {contrast.name} are longer than {limit} tokens of {model.name} and are "
            "cut there: their last tokens are not used."
        )
    return found


def _document(text: str) -> Document:
    return Document(text, text)


def _prompts(model: ResolvedModel, dose: Dose) -> tuple[list[Encoded], int]:
    """Encode the prompts, and refuse prompts that the model cannot continue, before any model runs.

    Special tokens after a text (EOS) are left out, so that generation continues the text.

    Returns:
        One record per prompt, and the number of prompts that are cut.
    """
    if not dose.prompts:
        return [], 0
    documents = [*map(_document, dose.prompts), _document("a")]
    *encoded, word = model.adapter.tokenizer(model.weights).encode(documents, dose.max_tokens)
    cut = sum(one.is_cut(text, dose.max_tokens) for text, one in zip(dose.prompts, encoded, strict=True))
    before = int(word.kept[0]) if len(word.kept) else len(word.ids)
    encoded = [
        one.to_last_of_text() if len(one.kept) else Encoded(one.ids[:before], one.ends[:before]) for one in encoded
    ]
    for prompt, one in zip(dose.prompts, encoded, strict=True):
        if not len(one.ids):
            raise UsageError(
                f"{model.name} cannot continue the prompt {prompt!r}.",
                cause="The prompt has no tokens: its text is empty, and the tokenizer adds no BOS.",
                remedy="Give a prompt with at least one word.",
            )
        need_room(model.name, len(one.ids) + dose.new_tokens - 1, model.info.max_tokens)
    return encoded, cut


def _vectors(bridge: Bridge, given: Floats, native: Floats, seed: int) -> dict[str, Floats]:
    """Return each arm's vectors, (1, d_dst) float64, or several for random; all have the native vector's length."""
    vectors = {NATIVE: native[None], MAPPED: bridge.direction(given)[None]}
    if len(given) == len(native):
        vectors[RAW] = given[None]
    vectors[RANDOM_DIRECTION] = np.random.default_rng(seed).normal(size=(RANDOM_DIRECTIONS, len(native)))
    return {arm: with_lengths_of(some, native[None]).astype(np.float64) for arm, some in vectors.items()}
