"""Collect the activations that a plan needs, and open their paired rows."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bridge.collect.activations import activations_artifact, collect
from bridge.collect.memory import free_device_memory
from bridge.models import LoadedModel
from bridge.models.resolve import ResolvedModel
from bridge.pairing.rows import PairedRows
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime
from bridge.references import Site
from bridge.store import Artifact


def gather(
    plan: Plan, sites: Mapping[str, Sequence[Site]], runtime: Runtime
) -> tuple[dict[Site, Artifact], dict[Site, Artifact]]:
    """Collect both models' activations at their sites, one model in memory at a time, one pass over each.

    Args:
        plan: What to run.
        sites: The sites of `src` and of `dst`.
        runtime: Store and progress.
    """
    settings, placement = plan.options.settings(), plan.options.placement()
    gathered = []
    for side, wanted in ((plan.src, sites["src"]), (plan.dst, sites["dst"])):

        def load(model: ResolvedModel = side.model) -> LoadedModel:
            runtime.progress.note(f"Loading {model.name}.")
            return model.adapter.load(model.weights, placement)

        artifacts = {
            site: activations_artifact(
                runtime.store, f"{side.model.adapter.name} {side.identity}", site, plan.corpus, settings
            )
            for site in wanted
        }
        collect(load, side.model.name, artifacts, plan.corpus, settings, runtime.progress, side.tokenizer)
        # The tracer's wrappers refer to each other: without this, both models would be in memory together.
        gc.collect()
        free_device_memory()
        gathered.append(artifacts)
    return gathered[0], gathered[1]


def paired_rows(plan: Plan, src: Artifact, dst: Artifact) -> PairedRows:
    """Open the paired rows of one site of each model."""
    return PairedRows(
        plan.corpus, plan.shards, src, dst, plan.folds, plan.options.outlier_factor, replace(plan.coverage)
    )
