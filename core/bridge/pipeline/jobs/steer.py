"""Steering vectors of one model in another: native, raw, mapped and random ones, at several doses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
from bridge.pipeline.result import Result, headline
from bridge.pipeline.score.steering import Dose, Floats, SteeredModel, last_token_batches, readable, steering_metrics
from bridge.pipeline.transfer.contrast import Contrast, LabelledRows
from bridge.progress import Progress
from bridge.references import Site
from bridge.scorers import MAPPED, NATIVE, RANDOM_DIRECTION, RAW

RANDOM_DIRECTIONS = 5
"""Whose effects are averaged, text by text: a single random direction has some effect by chance. The arm's interval is
over texts, as every arm's; how far random directions differ among themselves is not in it."""


@final
@dataclass(frozen=True)
class Steering(Result):
    """What steering did.

    Attributes:
        metrics: For each dose and arm `log_odds_shift@DOSE`, `kl@DOSE` and `transfer_ratio@DOSE`; intervals are over
            the tested texts alone.
        generated: For each prompt what the model generates, by arm; `plain` is without steering.
        provenance: Bridge, contrast, doses and versions.
    """

    metrics: list[Metric]
    generated: list[dict[str, str]]
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        about = self.provenance
        return f"Steering({about['src']} -> {about['dst']}, {about['map']}: {headline(self.metrics)})"

    def document(self) -> dict[str, object]:
        """Return the result in its one shape, as `bridge steer --out` writes it.

        Returns:
            `schema`, `bridge` (the provenance), `metrics`, and `generated` beside them, ready for `json.dump`.
        """
        return document(self.metrics, self.provenance) | {"generated": self.generated}

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each metric.

        Returns:
            Rows of the fields of `bridge.metrics.Metric`; effects are in nats.
        """
        return [asdict(metric) for metric in self.metrics]

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
    """Make a difference-of-means vector in both models, carry the source's across, and steer the destination.

    The vector is mean(first class) - mean(second class) of the activations at the last token of the texts that make
    it. Every arm's vector is given the native one's length, so that arms differ in direction alone. Each tested text is
    steered towards the class it is not of, at every token.

    Args:
        bridge: From the source's site to the destination's.
        contrast: Texts of two classes.
        dose: How to steer.
        progress: Is told of every stage.
        rows: Activations at the source's site, (n, d_src), to make its vector from instead of the texts; the source
            model is then not run. The destination's own vector still comes from the texts.

    Raises:
        BridgeError: If a model cannot be had, the two classes do not differ in a model, or the destination is an
            encoder, or cannot continue a prompt.
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
        remarks.append(f"{cut} of {len(prompts)} prompts are longer than {dose.max_tokens} tokens, and are cut there.")
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
    sides = [side_of(model, runtime) for model in (src, dst) if model]
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
    }


def _models(bridge: Bridge, dose: Dose) -> ModelOptions:
    device, dtype = dose.placement.device, dose.placement.dtype
    given = make_options(src=bridge.src, device=device, dtype=dtype, allow_untrained=dose.allow_untrained)
    return given.models


def _load(model: ResolvedModel, models: ModelOptions, runtime: Runtime) -> LoadedModel:
    runtime.progress.note(f"Loading {model.name} in {models.dtype}.")
    side = side_of(model, runtime)
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
    """Return mean(first) - mean(second) at the last token of the texts that make the vector, (d_model,) float64."""
    limit = readable(dose.max_tokens, model.max_tokens)
    rows = np.concatenate(
        [
            model.activations(ids, mask, [site])[0][range(len(last)), last].float().cpu().numpy().astype(np.float64)
            for ids, mask, last in last_token_batches(model, contrast.documents, limit)
        ]
    )
    making = ~contrast.tested
    difference: Floats = rows[making & contrast.first].mean(0) - rows[making & ~contrast.first].mean(0)
    cause = "Their texts end in the same tokens, and the model does not tell them apart there."
    return _told_apart(difference, f"{contrast.name} in {model.name} at {site}", cause)


def _told_apart(difference: Floats, where: str, cause: str = "") -> Floats:
    if not np.isfinite(difference).all() or not difference.any():
        raise BridgeError(f"The means of the two classes of {where} do not differ, or overflow.", cause=cause)
    return difference


def _read_otherwise(model: ResolvedModel, contrast: Contrast, dose: Dose) -> list[str]:
    """Say what of the texts a model reads otherwise than they stand, or not to their end."""
    tokenizer, limit = model.adapter.tokenizer(model.weights), readable(dose.max_tokens, model.info.max_tokens)
    found = tokenizer.remarks([*contrast.documents, *map(_document, dose.prompts)])
    encoded = tokenizer.encode(contrast.documents, limit)
    cut = sum(one.is_cut(text.text, limit) for text, one in zip(contrast.documents, encoded, strict=True))
    if cut:
        found.append(
            f"{cut} of {len(encoded)} texts of {contrast.name} are longer than {limit} tokens of {model.name}, and are "
            "cut there: what is read and steered is not where they end."
        )
    return found


def _document(text: str) -> Document:
    return Document(text, text)


def _prompts(model: ResolvedModel, dose: Dose) -> tuple[list[Encoded], int]:
    """Encode the prompts, and refuse before anything is run those that the model cannot continue.

    What a tokenizer puts after a text (EOS) is left out, because nothing continues from there.

    Returns:
        One record a prompt, and how many prompts are cut.
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
                cause="It is of no tokens: there is no text, and the tokenizer puts no BOS before it.",
                remedy="Give a prompt of a word at least.",
            )
        need_room(model.name, len(one.ids) + dose.new_tokens - 1, model.info.max_tokens)
    return encoded, cut


def _vectors(bridge: Bridge, given: Floats, native: Floats, seed: int) -> dict[str, Floats]:
    """Return each arm's vectors, (1, d_dst) float64, of random ones several; all of the native one's length."""
    vectors = {NATIVE: native[None], MAPPED: bridge.direction(given)[None]}
    if len(given) == len(native):
        vectors[RAW] = given[None]
    vectors[RANDOM_DIRECTION] = np.random.default_rng(seed).normal(size=(RANDOM_DIRECTIONS, len(native)))
    return {arm: with_lengths_of(some, native[None]).astype(np.float64) for arm, some in vectors.items()}
