"""Explain one model's activations with another model's verbalizer, through a map, with the round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.collect.batches import pad
from bridge.collect.memory import forget_models
from bridge.corpus.documents import Document
from bridge.errors import UsageError
from bridge.geometry import fraction_of_variance_explained, nrm_variance_explained
from bridge.maps import check_width
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.jobs.foreign import ForeignVerbalizer
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.provenance import said
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.plan.self_check import load_checked
from bridge.pipeline.plan.single import ModelPlan
from bridge.pipeline.plan.specs import build_washout
from bridge.pipeline.readings import Reading, Readings
from bridge.pipeline.transfer.layers import refuse_other_layers
from bridge.pipeline.verbalize.divided import DividedVerbalizer
from bridge.pipeline.verbalize.round_trip import cosine
from bridge.pipeline.verbalize.sampling import background_of
from bridge.progress import Progress

Float32 = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Tokens:
    """Activations of texts at chosen tokens.

    Attributes:
        x: (n, d_src) float32.
        texts: The text of each row.
        tokens: The token of each row.
        ends: The end of each token in its text, in characters.
        counts: The number of rows of each text, in the texts' order.
        remarks: Sentences about texts that were changed when read or cut.
    """

    x: Float32
    texts: list[str]
    tokens: list[str]
    ends: list[int]
    counts: list[int]
    remarks: list[str]


def explain_texts(
    options: Options,
    texts: Sequence[str],
    every: int = 1,
    progress: Progress | None = None,
    bridge: Bridge | None = None,
    *,
    ask: str = "",
) -> Readings:
    """Explain the activations of texts at every token, or at every n-th token counted from the last.

    Args:
        options: The two models, and the options for fitting the map if it is not in the cache. Both may be the same
            model at the same site: its own verbalizer then explains it, without a map.
        texts: The texts.
        every: Explain every n-th token.
        progress: Receives every stage.
        bridge: The map, if already fitted.
        ask: A question about each text. The activations of its tokens stand in one prompt, which has one answer.

    Raises:
        UsageError: If the destination has no verbalizer, the verbalizer takes no questions, or there are no texts.
        BridgeError: As `prepare`.
    """
    foreign = ForeignVerbalizer(options, open_runtime(progress), bridge, asked=bool(ask))
    given = _activations(foreign.src, texts, every, foreign.runtime)
    for remark in given.remarks:
        foreign.runtime.progress.note(remark)
    provenance = foreign.provenance()
    provenance |= said([*provenance.get("remarks", []), *given.remarks])
    points = given.x if foreign.bridge is None else foreign.bridge(given.x).astype(np.float32)
    with foreign.open() as verbalizer:
        if ask:
            answers = _answers(foreign, verbalizer, given, points, ask)
            return Readings(answers, None, None, provenance | {"question": ask} | foreign.notes(verbalizer))
        explanations = foreign.explain(verbalizer, len(points), lambda: verbalizer.explain(points))
        returned = foreign.reconstruct(verbalizer, explanations, points)
        provenance |= foreign.notes(verbalizer)
    cosines = [None] * len(explanations) if returned is None else list(map(float, cosine(given.x, returned)))
    readings = [
        Reading(text, token, end, one.text, one.flags, back)
        for text, token, end, one, back in zip(
            given.texts, given.tokens, given.ends, explanations, cosines, strict=True
        )
    ]
    if returned is None:
        return Readings(readings, None, None, provenance)
    background = background_of(foreign.subject(foreign.src), options.run.seed)
    mean, cards = background.mean[None], nrm_variance_explained(given.x, returned, background.rows)
    return Readings(
        readings,
        fraction_of_variance_explained(given.x, returned, mean),
        float(cosine(given.x, mean).mean()),
        provenance,
        cards if np.isfinite(cards) else None,
    )


def _answers(
    foreign: ForeignVerbalizer, verbalizer: DividedVerbalizer, given: Tokens, points: Float32, ask: str
) -> list[Reading]:
    """Ask one question about all activations of each text; a reading is placed at the end of the text's last token."""
    groups = np.split(points, np.cumsum(given.counts)[:-1])
    answers = foreign.explain(verbalizer, len(groups), lambda: verbalizer.ask(groups, ask))
    last = np.cumsum(given.counts) - 1
    return [
        Reading(given.texts[row], given.tokens[row], given.ends[row], one.text, one.flags, None)
        for row, one in zip(last, answers, strict=True)
    ]


def explain_directions(
    options: Options,
    directions: Mapping[str, Float32],
    progress: Progress | None = None,
    bridge: Bridge | None = None,
    *,
    any_layer: bool = False,
) -> Readings:
    """Explain directions of the source, moved by the map, with a washout.

    Args:
        options: As for `explain_texts`; the first washout is used, with each direction at its given length.
        directions: Directions by name, (n, d_src) or (d_src,) float32.
        progress: Receives every stage.
        bridge: The map, if already fitted.
        any_layer: Assign all directions to the source's site, ignoring layers in their names or number.

    Raises:
        UsageError: If the destination has no verbalizer, or directions belong to other layers than the source's.
        ShapeError: If a direction has another width.
        BridgeError: As `prepare`.
    """
    runtime = open_runtime(progress)
    if not any_layer:
        model = runtime.resolve(options.models.src)
        site = model.single_site()
        refuse_other_layers(directions, "The input", model.label(site), str(site), model.info.n_layers)
    foreign = ForeignVerbalizer(options, runtime, bridge)
    washout = build_washout(options.verbalize.washout[0])
    names = [f"{name}[{row}]" for name, some in directions.items() for row in range(len(np.atleast_2d(some)))]
    given = np.concatenate([np.atleast_2d(some) for some in directions.values()])
    check_width(given, foreign.src.side.model.info.d_model, "The directions")
    moved = given if foreign.bridge is None else foreign.bridge.direction(given).astype(np.float32)
    background = background_of(foreign.subject(foreign.dst), options.run.seed)
    with foreign.open() as verbalizer:
        explanations = foreign.explain(verbalizer, len(moved), lambda: washout.explain(verbalizer, moved, background))
        notes = foreign.notes(verbalizer)
    readings = [Reading(name, "", -1, one.text, one.flags, None) for name, one in zip(names, explanations, strict=True)]
    provenance = foreign.provenance() | {"washout": asdict(washout)} | notes
    return Readings(readings, None, None, provenance)


def _activations(plan: ModelPlan, texts: Sequence[str], every: int, runtime: Runtime) -> Tokens:
    if plan.side.source:
        runtime.progress.note(
            f"These texts run in transformers; only activations over the corpus come from {plan.side.source['source']}."
        )
    model = load_checked(plan.side, plan.models, runtime)
    site = plan.side.model.single_site()
    limit = plan.reading.max_tokens
    documents = [Document(text, text) for text in texts]
    rows, cut = [], 0
    found = Tokens(np.empty(0, np.float32), [], [], [], [], model.tokenizer.remarks(documents))
    for text, encoded in zip(texts, model.encode(documents, limit), strict=True):
        kept = encoded.kept[::-1][::every][::-1]
        if not len(kept):
            raise UsageError(f"The text {text[:40]!r} has no tokens to explain.")
        found.counts.append(len(kept))
        cut += encoded.is_cut(text, limit)
        ids, mask = pad([encoded.ids])
        rows.append(model.activations(ids, mask, [site])[0][0, kept].float().cpu().numpy())
        begins = np.concatenate([[0], encoded.ends[encoded.kept]])[np.searchsorted(encoded.kept, kept)]
        for begin, end in zip(begins.tolist(), encoded.ends[kept].tolist(), strict=True):
            found.texts.append(text)
            found.tokens.append(text[begin:end])
            found.ends.append(end)
    if not rows:
        raise UsageError("There is no text to explain.", remedy="Give --text, --file or --directions.")
    if cut:
        found.remarks.append(f"{cut} of {len(texts)} texts are longer than {limit} tokens and are cut there.")
    del model
    forget_models()
    return replace(found, x=np.concatenate(rows))
