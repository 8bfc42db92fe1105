"""Collect the activations that a plan needs, and open their paired rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bridge.collect.activations import activations_artifact
from bridge.collect.memory import forget_models
from bridge.collect.parts import Part
from bridge.collect.worker import collect
from bridge.models import LoadedModel
from bridge.pairing.rows import PairedRows
from bridge.pipeline.plan.placement import collect_settings
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.self_check import load_checked, untrained_notes
from bridge.pipeline.plan.single import ModelPlan
from bridge.references import Site
from bridge.store import Artifact


def gather(
    plan: Plan, sites: Mapping[str, Sequence[Site]], runtime: Runtime, part: Part | None = None
) -> tuple[dict[Site, Artifact], dict[Site, Artifact]]:
    """Collect both models' activations at their sites, one model in memory at a time, with one pass each.

    Args:
        plan: The plan.
        sites: The sites of `src` and of `dst`.
        runtime: Store and progress.
        part: Collect only the shards of this part; default: all.
    """
    src = gather_model(plan.of_src, sites["src"], runtime, part)
    return src, gather_model(plan.of_dst, sites["dst"], runtime, part)


def gather_model(
    plan: ModelPlan, sites: Sequence[Site], runtime: Runtime, part: Part | None = None
) -> dict[Site, Artifact]:
    """Collect one model's activations at some sites, in one pass.

    Args:
        plan: The plan of the model.
        sites: The sites.
        runtime: Store and progress.
        part: Collect only the shards of this part; default: all.
    """
    settings = collect_settings(plan.models, plan.reading)
    model = plan.side.model

    def load() -> LoadedModel:
        runtime.progress.note(f"Loading {model.name}.")
        here = model.weights.are_here()
        loaded = load_checked(plan.side, plan.models, runtime)
        for note in () if here else plan.side.notes:
            runtime.progress.note(note)
        return loaded

    name = f"{model.adapter.name} {plan.side.identity}"
    artifacts = {site: activations_artifact(runtime.store, name, site, plan.corpus, settings) for site in sites}
    untrained_notes(plan.side, plan.models, runtime)  # also refuses untrained models with cached activations
    collect(load, model.name, artifacts, plan.corpus, settings, runtime.progress, plan.side.tokenizer, part)
    for note in untrained_notes(plan.side, plan.models, runtime):
        runtime.progress.note(note)
    forget_models()
    return artifacts


def paired_rows(plan: Plan, src: Artifact, dst: Artifact) -> PairedRows:
    """Open the paired rows of one site of each model."""
    return PairedRows(
        plan.corpus, plan.shards, src, dst, plan.folds, plan.options.corpus.outlier_factor, replace(plan.coverage)
    )
