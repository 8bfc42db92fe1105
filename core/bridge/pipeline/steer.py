"""Steering vectors of one model in another: native, raw, mapped and random ones, at several doses."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.collect import free_device_memory, pad
from bridge.contrast import Contrast
from bridge.corpus import Document
from bridge.directions import LabelledRows
from bridge.errors import BridgeError, UsageError
from bridge.maps import check_width
from bridge.metrics import Metric, document
from bridge.models import LoadedModel, Placement
from bridge.models.loaded import need_room
from bridge.models.resolve import ResolvedModel
from bridge.pairing import Encoded
from bridge.pipeline.bridge import Bridge
from bridge.pipeline.fit import versions
from bridge.pipeline.workbench import Workbench, open_workbench
from bridge.progress import Progress
from bridge.references import Site
from bridge.scorers import MAPPED, NATIVE, RANDOM_DIRECTION, RAW

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.models.edits import Edits

RANDOM_DIRECTIONS = 5
"""Whose effects are averaged, text by text: a single random direction has some effect by chance. The arm's interval is
over texts, as every arm's; how far random directions differ among themselves is not in it."""

TEXTS_PER_BATCH = 32
Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Steering:
    """What steering did.

    Attributes:
        metrics: For each dose and arm `log_odds_shift@DOSE`, `kl@DOSE` and `transfer_ratio@DOSE`; intervals are over
            the tested texts alone.
        generated: For each prompt what the model goes on with, by arm; `plain` is without steering.
        provenance: Bridge, contrast, doses and versions.
    """

    metrics: list[Metric]
    generated: list[dict[str, str]]
    provenance: dict[str, Any]

    def document(self) -> dict[str, object]:
        """Return the result in its one shape, the generated texts beside the metrics."""
        return document(self.metrics, self.provenance) | {"generated": self.generated}


@final
@dataclass(frozen=True)
class Dose:
    """How the live model is steered.

    Attributes:
        doses: Multiples of the native vector's length.
        prompts: Texts to go on with, at the largest dose.
        new_tokens: How many tokens to add to a prompt at most; the model's own end tokens end a text sooner.
        max_tokens: Texts are cut after so many tokens, prompts too.
        placement: Where models go.
        seed: Of the random directions and the bootstrap.
    """

    doses: tuple[float, ...] = (0.5, 1.0, 2.0)
    prompts: tuple[str, ...] = ()
    new_tokens: int = 30
    max_tokens: int = 256
    placement: Placement = field(default_factory=Placement)
    seed: int = 0


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
            encoder, or cannot go on from a prompt.
        ShapeError: If the rows have another width than the source.
    """
    bench = open_workbench(progress)
    if rows is not None:
        check_width(rows.rows, bridge.fitted.d_src, f"The tensor rows of {rows.name}")
    dst = bench.resolve(bridge.dst)
    site = dst.single_site()
    dst.need_next_token()
    prompts = _prompts(dst, dose)
    cut = sum(one.ends.max(initial=0) < len(text) for text, one in zip(dose.prompts, prompts, strict=True))
    if cut:
        bench.progress.note(
            f"{cut} of {len(prompts)} prompts are longer than {dose.max_tokens} tokens, and are cut there."
        )
    given = _source_vector(bridge, contrast, dose, bench) if rows is None else _told_apart(rows.difference(), rows.name)
    live = _load(dst, dose, bench)
    vectors = _vectors(bridge, given, _difference(live, site, contrast, dose), dose.seed)
    steered = _Steered(live, site, contrast, dose)
    metrics: list[Metric] = []
    with bench.progress.stage("steer", len(dose.doses) * len(vectors), "arms") as advance:
        for alpha in dose.doses:
            effects = {}
            for arm, some in vectors.items():
                effects[arm] = steered.effects(alpha * some)
                advance()
            metrics += _metrics(bridge, effects, alpha, dose.seed)
    texts = steered.go_on(dose.prompts, prompts, vectors, max(dose.doses))
    provenance = {
        "src": bridge.src,
        "dst": bridge.dst,
        "map": bridge.map,
        "contrast": {"name": contrast.name, "classes": list(contrast.classes), "tested": int(contrast.tested.sum())},
        "vector_from": contrast.name if rows is None else rows.name,
        "doses": list(dose.doses),
        "seed": dose.seed,
        "device": dose.placement.torch_device(),
        "dtype": dose.placement.dtype,
        "generation": {"new_tokens": dose.new_tokens, "ends": sorted(live.ends), "prompts_cut": int(cut)},
        "versions": versions(),
    }
    return Steering(metrics, texts, provenance)


def _load(model: ResolvedModel, dose: Dose, bench: Workbench) -> LoadedModel:
    bench.progress.note(f"Loading {model.name} in {dose.placement.dtype}.")
    return model.adapter.load(model.weights, dose.placement)


def _source_vector(bridge: Bridge, contrast: Contrast, dose: Dose, bench: Workbench) -> Floats:
    src = bench.resolve(bridge.src)
    site = src.single_site()
    given = _difference(_load(src, dose, bench), site, contrast, dose)
    # The tracer's wrappers refer to each other: without this, both models would be in memory together.
    gc.collect()
    free_device_memory()
    return given


def _difference(model: LoadedModel, site: Site, contrast: Contrast, dose: Dose) -> Floats:
    """Return mean(first) - mean(second) at the last token of the texts that make the vector, (d_model,) float64."""
    rows = np.concatenate(
        [
            model.activations(ids, mask, [site])[0][range(len(last)), last].float().cpu().numpy().astype(np.float64)
            for ids, mask, last in _batches(model, contrast.documents, dose.max_tokens)
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


def _batches(
    model: LoadedModel, documents: Sequence[Document], max_tokens: int
) -> list[tuple[Tensor, Tensor, list[int]]]:
    """Return ids, mask, and the position of each text's last token."""
    batches = []
    for start in range(0, len(documents), TEXTS_PER_BATCH):
        encoded = model.encode(documents[start : start + TEXTS_PER_BATCH], max_tokens)
        batches.append((*pad([one.ids for one in encoded]), [len(one.ids) - 1 for one in encoded]))
    return batches


def _prompts(model: ResolvedModel, dose: Dose) -> list[Encoded]:
    """Encode the prompts, and refuse before anything is run those that the model cannot go on from."""
    documents = [Document(prompt, prompt) for prompt in dose.prompts]
    encoded = model.adapter.tokenizer(model.weights).encode(documents, dose.max_tokens) if documents else []
    for prompt, one in zip(dose.prompts, encoded, strict=True):
        if not len(one.ids):
            raise UsageError(
                f"{model.name} cannot go on from the prompt {prompt!r}.",
                cause="It is of no tokens: there is no text, and the tokenizer puts no BOS before it.",
                remedy="Give a prompt of a word at least.",
            )
        need_room(model.name, len(one.ids) + dose.new_tokens - 1, model.info.max_tokens)
    return encoded


def _vectors(bridge: Bridge, given: Floats, native: Floats, seed: int) -> dict[str, Floats]:
    """Return each arm's vectors, (1, d_dst) float64, of random ones several; all of the native one's length."""
    vectors = {NATIVE: native[None], MAPPED: bridge.direction(given)[None]}
    if len(given) == len(native):
        vectors[RAW] = given[None]
    vectors[RANDOM_DIRECTION] = np.random.default_rng(seed).normal(size=(RANDOM_DIRECTIONS, len(native)))
    length = np.linalg.norm(native)
    return {arm: some * (length / np.linalg.norm(some, axis=1, keepdims=True)) for arm, some in vectors.items()}


@final
class _Steered:
    """The live destination model: what it predicts after each tested text, plain and steered."""

    def __init__(self, model: LoadedModel, site: Site, contrast: Contrast, dose: Dose) -> None:
        self._model, self._site, self._dose = model, site, dose
        plain = self._predictions(contrast.documents, None, np.zeros(len(contrast.documents)))
        making, first = ~contrast.tested, contrast.first
        # The class's own mean prediction is the read-out: no list of words has to be made up.
        toward, away = (np.log(np.exp(plain[making & of]).mean(0) + 1e-12) for of in (first, ~first))
        self._odds = toward - away
        self._documents = [one for one, tested in zip(contrast.documents, contrast.tested, strict=True) if tested]
        self._sign = np.where(first[contrast.tested], -1.0, 1.0)
        self._plain = plain[contrast.tested]

    def effects(self, vectors: Floats) -> dict[str, Floats]:
        """Return for each tested text the mean effect of some vectors, (k, d_model).

        Returns:
            The shift of the class log-odds towards the other class, and KL(steered || plain), in nats: both (texts,).
        """
        found = [self._effect(vector) for vector in vectors]
        return {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}

    def _effect(self, vector: Floats) -> dict[str, Floats]:
        steered = self._predictions(self._documents, vector, self._sign)
        shift = ((np.exp(steered) - np.exp(self._plain)) @ self._odds) * self._sign
        kl = (np.exp(steered) * (steered - self._plain)).sum(1)
        return {"log_odds_shift": shift, "kl": np.maximum(kl, 0)}

    def go_on(
        self, prompts: Sequence[str], encoded: Sequence[Encoded], vectors: Mapping[str, Floats], alpha: float
    ) -> list[dict[str, str]]:
        """Return what the model goes on with after each prompt: plain, and steered by every arm's vector."""
        import torch

        edits: dict[str, Edits] = {"plain": {}}
        for arm, some in vectors.items():
            edits[arm] = {self._site: _adding(torch.from_numpy(alpha * some[0]))}
        ids = [one.ids for one in encoded for _ in edits]
        added = self._model.generate(ids, self._dose.new_tokens, [*edits.values()] * len(encoded))
        said = map(self._model.tokenizer.decode, added)
        return [{"prompt": prompt} | {arm: next(said) for arm in edits} for prompt in prompts]

    def _predictions(self, documents: Sequence[Document], vector: Floats | None, sign: Floats) -> Floats:
        """Return the log-probabilities after the last token, (texts, vocabulary) float64."""
        import torch

        found, start = [], 0
        for ids, mask, last in _batches(self._model, documents, self._dose.max_tokens):
            edits = {}
            if vector is not None:
                signed = torch.from_numpy(sign[start : start + len(last), None, None] * vector)
                edits[self._site] = _adding(signed)
            logits = self._model.logits(ids, mask, edits)[range(len(last)), last]
            found.append(torch.log_softmax(logits.double(), -1).cpu().numpy())
            start += len(last)
        return np.concatenate(found)


def _adding(vector: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda value: value + vector.to(value.device, value.dtype)


def _metrics(bridge: Bridge, effects: Mapping[str, Mapping[str, Floats]], alpha: float, seed: int) -> list[Metric]:
    native = effects[NATIVE]["log_odds_shift"]
    metrics = []
    for arm, measured in effects.items():
        control = RANDOM_DIRECTION if arm == MAPPED else ""
        ones = np.ones(len(native))
        for name, top, bottom in (
            ("log_odds_shift", measured["log_odds_shift"], ones),
            ("kl", measured["kl"], ones),
            ("transfer_ratio", measured["log_odds_shift"], native),
        ):
            value = float(top.sum() / bottom.sum())
            low, high = _interval(top, bottom, seed)
            where = (bridge.map, bridge.src, bridge.dst)
            metrics.append(Metric("steering", f"{name}@{alpha:g}", arm, *where, value, low, high, len(native), control))
    return metrics


def _interval(top: Floats, bottom: Floats, seed: int) -> tuple[float, float]:
    """95% percentile bootstrap interval of sum(top) / sum(bottom) over texts; summands may have any sign."""
    from scipy.stats import bootstrap

    result = bootstrap(
        (top, bottom),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=1000,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
