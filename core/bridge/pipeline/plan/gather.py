"""Collect the activations that a plan needs, and open their paired rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from bridge.collect.activations import ActivationSource, activations_artifact
from bridge.collect.fill import Opener, collect
from bridge.collect.memory import forget_models
from bridge.collect.parts import Part
from bridge.collect.worker import Collector
from bridge.engines import Pool
from bridge.pairing.rows import PairedRows
from bridge.pipeline.plan.elsewhere import DistantModel, pool_of, work_of
from bridge.pipeline.plan.placement import collect_settings
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.self_check import untrained_notes
from bridge.pipeline.plan.single import ModelPlan
from bridge.pipeline.plan.source_check import open_checked
from bridge.references import Site
from bridge.store import Artifact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    settings, artifacts = collect_settings(plan.models, plan.reading), artifacts_of(plan, sites, runtime)
    side, model = plan.side, plan.side.model
    untrained_notes(side, plan.models, runtime)  # also refuses untrained models with cached activations
    elsewhere = DistantShards(DistantModel.of(plan, runtime), tuple(sites))

    def pool(here: Opener) -> AbstractContextManager[Pool]:
        work = work_of(f"collect {model.name}", here, elsewhere, plan.models, runtime)
        return pool_of(work, plan.models, runtime)

    with contextlib.ExitStack() as opened:

        def load() -> ActivationSource:
            runtime.progress.note(f"Loading {model.name}.")
            here = model.weights.are_here()
            source = opened.enter_context(open_checked(side, sites, plan.models, runtime))
            for note in side.notes if not here else ():
                runtime.progress.note(note)
            return source

        collect(load, model.name, artifacts, plan.corpus, settings, runtime.progress, side.tokenizer, part, pool)
    for note in untrained_notes(plan.side, plan.models, runtime):
        runtime.progress.note(note)
    forget_models()
    return artifacts


def artifacts_of(plan: ModelPlan, sites: Sequence[Site], runtime: Runtime) -> dict[Site, Artifact]:
    """Return the artifact of each site of a model."""
    settings, side = collect_settings(plan.models, plan.reading), plan.side
    name = f"{side.model.adapter.name} {side.identity}"
    return {site: activations_artifact(runtime.store, name, site, plan.corpus, settings, side.source) for site in sites}


@final
@dataclass(frozen=True)
class DistantShards:
    """Opens a worker of a collection in another process.

    Attributes:
        model: The model.
        sites: The sites.
    """

    model: DistantModel
    sites: tuple[Site, ...]

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Callable[[tuple[int, bool]], str]]:
        """Yield `Collector.work`; it loads the model at the first shard."""
        plan, runtime = self.model.open()
        settings, artifacts = collect_settings(plan.models, plan.reading), artifacts_of(plan, self.sites, runtime)
        with contextlib.ExitStack() as opened:

            def load() -> ActivationSource:
                return opened.enter_context(open_checked(plan.side, self.sites, plan.models, runtime))

            collector = Collector(load, artifacts, plan.corpus, settings, plan.side.tokenizer)
            try:
                yield collector.work
            finally:
                collector.finish()


def paired_rows(
    plan: Plan, src: Artifact, dst: Artifact, outliers: list[NDArray[np.bool_]] | None = None
) -> PairedRows:
    """Open the paired rows of one site of each model.

    Args:
        plan: The plan.
        src: The source's activations.
        dst: The destination's activations.
        outliers: Whether each row of each shard is an outlier, if already known.
    """
    factor, coverage = plan.options.corpus.outlier_factor, replace(plan.coverage)
    return PairedRows(plan.corpus, plan.shards, src, dst, plan.folds, factor, coverage, outliers)
