"""What a worker in another process is handed, as plain data: from it the worker finds model, texts and store again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

from bridge.corpus.documents import Corpus
from bridge.engines import Pool, Work, in_turn
from bridge.pairing.tokens import Coverage, ShardPairs
from bridge.pipeline.plan.groups import CorpusOptions, ModelOptions
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.placement import placement_of
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.provenance import versions
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.plan.single import ModelPlan, find_side
from bridge.pipeline.plan.specs import build, build_map
from bridge.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Item = TypeVar("Item")
Result = TypeVar("Result")

PREFIX = "BRIDGE_"
"""Begins the names of the environment variables that a worker must have as this process has them."""


@final
@dataclass(frozen=True)
class DistantModel:
    """One model and its texts.

    Attributes:
        reference: The model with its sites, as `ResolvedModel.pinned`.
        identity: Identity of its weights; other weights are refused.
        activations: The source of its activations, with options.
        corpus: The texts.
        folds: Fold of each document, (documents,).
        models: Device and dtype options, with the dtype resolved.
        reading: Truncation of texts, and rows that are left out.
        seed: Random seed.
        store: The folder of the store.
    """

    reference: str
    identity: str
    activations: str
    corpus: Corpus
    folds: NDArray[np.int64]
    models: ModelOptions
    reading: CorpusOptions
    seed: int
    store: Path

    @staticmethod
    def of(plan: ModelPlan, runtime: Runtime) -> DistantModel:
        """Return the data from which `open` makes the same plan."""
        return DistantModel(
            reference=plan.side.model.pinned(),
            identity=plan.side.identity,
            activations=plan.activations,
            corpus=plan.corpus,
            folds=plan.folds,
            models=plan.models,
            reading=plan.reading,
            seed=plan.seed,
            store=runtime.store.root.absolute(),
        )

    def open(self) -> tuple[ModelPlan, Runtime]:
        """Find the model again.

        Raises:
            UsageError: If the model is not here.
            ModelError: If other weights are here.
        """
        runtime = runtime_of(self.store)
        model = runtime.resolve(self.reference)
        side = find_side(model, self.identity, self.activations, self.models, self.reading, runtime)
        return ModelPlan(side, self.corpus, self.folds, self.models, self.reading, self.seed, self.activations), runtime


@final
@dataclass(frozen=True)
class DistantPlan:
    """A plan without what a worker finds again: the models and the map.

    Attributes:
        options: The options, pinned.
        corpus: The texts.
        folds: Fold of each document, (documents,).
        shards: The paired rows of each shard.
        coverage: Counts of paired tokens.
        store: The folder of the store.
    """

    options: Options
    corpus: Corpus
    folds: NDArray[np.int64]
    shards: list[ShardPairs]
    coverage: Coverage
    store: Path

    @staticmethod
    def of(plan: Plan, runtime: Runtime) -> DistantPlan:
        """Return the data from which `open` makes the same plan."""
        store = runtime.store.root.absolute()
        return DistantPlan(plan.options, plan.corpus, plan.folds, plan.shards, plan.coverage, store)

    def open(self) -> tuple[Plan, Runtime]:
        """Find models and map again.

        Raises:
            UsageError: If a model or the map is not here.
            ModelError: If other weights are here.
        """
        runtime, models, reading = runtime_of(self.store), self.options.models, self.options.corpus
        src = runtime.resolve(models.src), models.src_identity, models.src_activations
        dst = runtime.resolve(models.dst), models.dst_identity, models.dst_activations
        left, right = (find_side(*one, models, reading, runtime) for one in (src, dst))
        kind = build_map(self.options.map, runtime.registry)
        return Plan(self.options, kind, left, right, self.corpus, self.folds, self.shards, self.coverage), runtime


def runtime_of(store: Path) -> Runtime:
    """Discover plugins, and open the shared store."""
    return Runtime(open_runtime().registry, Store(store))


def pool_of(work: Work[Item, Result], models: ModelOptions, runtime: Runtime) -> AbstractContextManager[Pool]:
    """Open workers on the engine that the options name, or one in this process.

    Raises:
        UsageError: If the engine or an option is unknown.
        EngineError: If the engine has no workers.
    """
    if not models.engine:
        return in_turn(work.here)
    return build(models.engine, runtime.registry.engine).open(work, runtime.progress.note)


def work_of(
    name: str,
    here: Callable[[], AbstractContextManager[Callable[[Item], Result]]],
    elsewhere: Callable[[], AbstractContextManager[Callable[[Item], Result]]],
    models: ModelOptions,
    runtime: Runtime,
) -> Work[Item, Result]:
    """Return the work of a stage; see `Work`.

    Args:
        name: Name of the work.
        here: Opens a worker in this process.
        elsewhere: Opens a worker in another process.
        models: Device options.
        runtime: Plugins and store.
    """
    variables = {key: value for key, value in os.environ.items() if key.startswith(PREFIX)}
    device, folder = placement_of(models).torch_device(), runtime.store.root.absolute()
    return Work(name, here, elsewhere, device, environment(runtime), folder, variables)


def environment(runtime: Runtime) -> Mapping[str, str]:
    """Return the distributions of bridge, its libraries and all plugins, with their versions."""
    libraries = {name: found for name, found in versions().items() if name != "python"}
    plugins = {plugin.distribution for plugin in runtime.registry.plugins if not plugin.error}
    return libraries | {name: version(name) for name in sorted(plugins) if name not in libraries}
