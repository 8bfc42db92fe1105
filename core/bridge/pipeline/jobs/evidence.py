"""Evidence for the scorers of a run and of an audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.split import HELD_OUT
from bridge.errors import PluginError
from bridge.maps import FittedMap
from bridge.metrics import Metric
from bridge.pipeline.fit.controls import fit_arms, fit_back
from bridge.pipeline.fit.fit import Fit
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.provenance import VERBALIZER_NOTES, said
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.score.held_out import StoredPairs
from bridge.pipeline.score.score import score_evidence
from bridge.pipeline.transfer.dictionary_sets import Opened
from bridge.pipeline.verbalize.both_models import Verbalized, verbalize
from bridge.pipeline.verbalize.setup import VerbalizerSetup
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.scorers import Evidence, Judge, LiveModel, Scorer

UNFINISHED = "the process ended before it had finished"
"""What is written of a scorer before it runs, and replaced when it has run."""


@final
@dataclass(frozen=True)
class Explained:
    """What is known of a fitted bridge before it is scored.

    Attributes:
        arms: The fitted map and its controls.
        back: The reverse map of each arm, where something reads it.
        verbalized: The explanations; None if nothing is explained.
    """

    arms: Mapping[str, FittedMap]
    back: Mapping[str, FittedMap]
    verbalized: Verbalized | None


def explain_fit(
    plan: Plan, result: Fit, dictionaries: Opened | None, setup: VerbalizerSetup | None, runtime: Runtime
) -> Explained:
    """Fit the controls, and explain features and activations; the bridge's provenance then describes the verbalizers.

    Args:
        plan: The plan of the run.
        result: The fitted bridge.
        dictionaries: Dictionaries of the two models; None if the source has none.
        setup: Dictionary and verbalizers; None if nothing is explained.
        runtime: Plugins and progress.
    """
    seed = plan.options.run.seed
    arms = fit_arms(result, seed, runtime)
    back = fit_back(result, arms, runtime) if dictionaries or plan.options.verbalize.positions else {}
    if not setup:
        return Explained(arms, back, None)
    of_src, of_dst = result.rows.artifacts
    subjects = ModelSubject(plan.of_src, of_src, runtime), ModelSubject(plan.of_dst, of_dst, runtime)
    verbalized = verbalize(setup, subjects, result.training, arms, back, seed, runtime)
    result.bridge.provenance["verbalized"] = verbalized.provenance
    result.bridge.provenance.update(said(verbalized.notes, VERBALIZER_NOTES))
    return Explained(arms, back, verbalized)


def score_fit(
    plan: Plan,
    result: Fit,
    dictionaries: Opened | None,
    explained: Explained,
    judge: Judge | None,
    runtime: Runtime,
    save: Callable[[list[Metric], Mapping[str, NDArray[np.floating]]], None],
) -> tuple[list[Metric], dict[str, NDArray[np.floating]]]:
    """Run every scorer whose needs are met on held-out documents.

    Scorers of other distributions come last, and what there is so far is saved before each of them, because one may
    end the process. The bridge's provenance lists scorers that fail, under `failed_scorers`.

    Args:
        plan: The plan of the run.
        result: The fitted bridge.
        dictionaries: Dictionaries of the two models; None if the source has none.
        explained: The maps and the explanations.
        judge: Embeds explanations; None if nothing is explained.
        runtime: Plugins and progress.
        save: Receives the metrics and the arrays that scorers keep, so far.

    Returns:
        The metrics, and the arrays that scorers keep.

    Raises:
        PluginError: If every scorer failed.
        StoreError: If stored activations are damaged.
    """
    verbalized = explained.verbalized
    features = verbalized.features if verbalized else None
    kept: dict[str, NDArray[np.floating]] = {}
    evidence = evidence_of(
        result,
        explained.arms,
        explained.back,
        plan.options.run.seed,
        dictionaries,
        explained=features.explained if features else {},
        readings=verbalized.readings if verbalized else None,
        judge=judge,
        keep=partial(_keep, kept),
    )
    registry, provenance = runtime.registry, result.bridge.provenance
    needed = [scorer for scorer in registry.scorers.values() if scorer.needs <= evidence.available]
    scorers = sorted(needed, key=lambda scorer: registry.is_foreign("scorers", scorer.name))

    def before(scorer: Scorer, metrics: list[Metric], failed: Mapping[str, str]) -> None:
        if registry.is_foreign("scorers", scorer.name):
            unfinished = {one.name: UNFINISHED for one in scorers[scorers.index(scorer) :]}
            provenance["failed_scorers"] = {**failed, **unfinished}
            save(metrics, kept)

    with runtime.progress.stage("score", len(scorers), "scorers") as advance:
        metrics, failed = score_evidence(evidence, scorers, runtime.progress, advance, before)
    provenance.pop("failed_scorers", None)
    if failed:
        provenance["failed_scorers"] = failed
    return metrics, kept


def _keep(kept: dict[str, NDArray[np.floating]], name: str, array: NDArray[np.floating]) -> None:
    """Keep an array, unless another scorer took its name."""
    if name in kept:
        raise PluginError(f"Another scorer has kept an array {name}.")
    kept[name] = array


def audit_evidence(result: Fit, seed: int, dictionaries: Opened, live: LiveModel | None, runtime: Runtime) -> Evidence:
    """Return the evidence of an audit: maps with reverse maps, dictionaries, and the live model."""
    arms = fit_arms(result, seed, runtime)
    back = fit_back(result, arms, runtime)
    return evidence_of(result, {arm: arms[arm] for arm in back}, back, seed, dictionaries, live=live)


def evidence_of(
    result: Fit,
    arms: Mapping[str, FittedMap],
    back: Mapping[str, FittedMap],
    seed: int,
    dictionaries: Opened | None = None,
    fold: int = HELD_OUT,
    **more: Any,
) -> Evidence:
    """Return the evidence for scorers.

    Args:
        result: The fitted map.
        arms: The fitted map and its controls.
        back: The reverse map of each arm.
        seed: Seed for scorers.
        dictionaries: Dictionaries of the two models.
        fold: The documents to score on: held out, or a validation fold.
        more: Other fields of `Evidence`.
    """
    bridge = result.bridge
    return Evidence(
        src=bridge.src,
        dst=bridge.dst,
        map=bridge.map,
        arms=arms,
        held_out=StoredPairs(result.rows, fold, result.training),
        seed=seed,
        back=back,
        src_dictionary=dictionaries.src if dictionaries else None,
        dst_dictionary=dictionaries.dst if dictionaries else None,
        twins=dictionaries.twins if dictionaries else {},
        **more,
    )
