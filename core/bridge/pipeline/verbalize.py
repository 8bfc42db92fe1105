"""The experiment: one model's features, explained by its own verbalizer and, through the map, by another model's."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.collect import free_device_memory
from bridge.containment import check_explanations
from bridge.dictionaries import Dictionary
from bridge.maps import FittedMap
from bridge.pipeline.dictionaries import check_belongs, note_bos, open_dictionary
from bridge.pipeline.directions import Features, background_of, draw_features
from bridge.pipeline.fit import Fit
from bridge.pipeline.judge import load_judge
from bridge.pipeline.options import build_washout
from bridge.pipeline.prepare import Plan, Side
from bridge.pipeline.subject import ModelSubject
from bridge.pipeline.verbalizers import find_verbalizer
from bridge.pipeline.workbench import Workbench
from bridge.scorers import MAPPED, RANDOM_DIRECTION, Explained, Judge
from bridge.verbalizers import Background, Explanation, Verbalizer, VerbalizerBackend, Washout

Vectors = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Tools:
    """What explaining needs besides the map.

    Attributes:
        dictionary: Of the source.
        src: What names the source's verbalizer, and its kind.
        dst: The same of the destination.
        washouts: By what names them.
        judge: Embeds explanations.
    """

    dictionary: Dictionary
    src: tuple[str, VerbalizerBackend]
    dst: tuple[str, VerbalizerBackend]
    washouts: Mapping[str, Washout]
    judge: Judge


@final
@dataclass(frozen=True)
class Verbalized:
    """What both verbalizers said.

    Attributes:
        features: What was explained.
        directions: By arm the vectors that the destination's verbalizer was given, before any washout, (n, d_dst).
        explained: By washout, the run's own first.
        provenance: Dictionary, verbalizers and washouts.
    """

    features: Features
    directions: Mapping[str, Vectors]
    explained: Mapping[str, Explained]
    provenance: dict[str, Any]

    def records(self) -> list[dict[str, Any]]:
        """Return one record a feature and washout: the texts and flags of every arm."""
        return [
            {
                "feature": int(number),
                "washout": washout,
                "native": _record(explained.native[row]),
                "foreign": {arm: _record(texts[row]) for arm, texts in explained.foreign.items()},
            }
            for washout, explained in self.explained.items()
            for row, number in enumerate(self.features.numbers)
        ]


def find_tools(plan: Plan, bench: Workbench) -> Tools:
    """Find everything that explaining needs, before the long work: nothing that is wrong may cost a fit.

    Raises:
        UsageError: If a verbalizer or washout is unknown.
        BridgeError: If dictionary or verbalizer are not there, or do not fit the models.
    """
    options, sides = plan.options, (plan.src, plan.dst)
    washouts = {text: build_washout(text) for text in options.washout}
    dictionary = open_dictionary(options.dictionary, bench.registry)
    check_belongs(dictionary, plan.src.model, plan.src.model.single_site())
    note_bos(dictionary, options.dictionary, plan.src.model.name, plan.src.tokenizer, bench)
    found = []
    for text, side in zip((options.src_verbalizer, options.dst_verbalizer), sides, strict=True):
        named, kind = find_verbalizer(text, side.model, side.identity, bench.registry)
        kind.preview(side.model.info.d_model)
        found.append((named, kind))
    return Tools(dictionary, found[0], found[1], washouts, load_judge(options.encoder))


def verbalize(result: Fit, arms: Mapping[str, FittedMap], tools: Tools, bench: Workbench) -> Verbalized:
    """Explain features of the source's dictionary by both verbalizers; one of them in memory at a time.

    Args:
        result: The fitted bridge.
        arms: The fitted map and its controls.
        tools: Dictionary, verbalizers and washouts.
        bench: Plugins, store and progress.

    Raises:
        UsageError: If too few features are alive.
        BridgeError: If a verbalizer cannot be loaded.
    """
    plan, washouts = result.plan, tools.washouts
    options = plan.options
    src, dst = (ModelSubject(plan, side, artifact) for side, artifact in _sides(result))
    bench.progress.note(f"Drawing {options.features} features of {options.dictionary}.")
    features = draw_features(src, tools.dictionary, options.features, options.seed, options.features_of)
    moved = carry(features.vectors, arms, options.seed)
    backgrounds = background_of(src, options.seed), background_of(dst, options.seed)
    native = _explain(tools.src[1].open(src), {MAPPED: features.vectors}, washouts, backgrounds[0], src.name, bench)
    _forget()
    foreign = _explain(tools.dst[1].open(dst), moved, washouts, backgrounds[1], dst.name, bench)
    _forget()
    names = [f"feature {number}" for number in features.numbers]
    explained = {text: Explained(names, native[text][MAPPED], foreign[text]) for text in washouts}
    provenance = {
        "dictionary": options.dictionary,
        "features": features.numbers.tolist(),
        "drawn_from": features.alive,
        "drawn_of": features.use,
        "verbalizers": {"src": tools.src[0], "dst": tools.dst[0]},
        "washouts": list(washouts),
        "arms": list(moved),
    }
    return Verbalized(features, moved, explained, provenance)


def carry(vectors: Vectors, arms: Mapping[str, FittedMap], seed: int) -> dict[str, Vectors]:
    """Move directions by every arm's map, and as many random directions by the fitted map.

    Every arm's directions are given the length of the mapped ones, one by one: arms differ in direction alone.

    Args:
        vectors: (n, d_src) float32.
        arms: The maps.
        seed: Of the random directions.

    Returns:
        By arm (n, d_dst) float32.
    """
    moved = {arm: fitted.direction(vectors) for arm, fitted in arms.items()}
    random = np.random.default_rng(seed).normal(size=vectors.shape)
    moved[RANDOM_DIRECTION] = arms[MAPPED].direction(random)
    lengths = np.linalg.norm(moved[MAPPED], axis=1, keepdims=True)
    return {
        arm: (some * (lengths / np.linalg.norm(some, axis=1, keepdims=True))).astype(np.float32)
        for arm, some in moved.items()
    }


def _explain(
    verbalizer: Verbalizer,
    by_arm: Mapping[str, Vectors],
    washouts: Mapping[str, Washout],
    background: Background,
    name: str,
    bench: Workbench,
) -> dict[str, dict[str, list[Explanation]]]:
    """Return by washout and arm one explanation a direction."""
    found: dict[str, dict[str, list[Explanation]]] = {text: {} for text in washouts}
    total = sum(map(len, by_arm.values())) * len(washouts)
    with bench.progress.stage(f"explain by {name}", total, "directions") as advance:
        for text, washout in washouts.items():
            for arm, vectors in by_arm.items():
                said = washout.explain(verbalizer, vectors, background)
                check_explanations(said, len(vectors), f"of {name}")
                found[text][arm] = said
                advance(len(vectors))
    return found


def _sides(result: Fit) -> list[tuple[Side, Any]]:
    return list(zip((result.plan.src, result.plan.dst), result.rows.artifacts, strict=True))


def _record(explanation: Explanation) -> dict[str, Any]:
    return {"text": explanation.text, "flags": list(explanation.flags)}


def _forget() -> None:
    # Two verbalizers of 7B and 27B do not fit into memory together.
    gc.collect()
    free_device_memory()
