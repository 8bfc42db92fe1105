"""Explain one model's features and activations with its own verbalizer and with another model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

from bridge.maps import FittedMap, TrainingData
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.verbalize.activations import ReadingJob
from bridge.pipeline.verbalize.cache import tell_notes
from bridge.pipeline.verbalize.divided import DividedVerbalizer, opened
from bridge.pipeline.verbalize.features import ExplainedFeatures, FeatureJob
from bridge.pipeline.verbalize.setup import VerbalizerSetup
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.scorers import ExplainedActivations


@final
@dataclass(frozen=True)
class Verbalized:
    """The explanations of both verbalizers.

    Attributes:
        features: Explanations of a dictionary's features; None without a dictionary.
        readings: Explanations of live activations; None if none were requested.
        provenance: Dictionary, verbalizers and washouts.
        notes: Notes of the verbalizers.
    """

    features: ExplainedFeatures | None
    readings: ExplainedActivations | None
    provenance: dict[str, Any]
    notes: list[str]


class Job(Protocol):
    """A set of vectors that both verbalizers explain."""

    def ask_source(self, verbalizer: DividedVerbalizer) -> None:
        """Explain with the source's own verbalizer."""

    def ask_destination(self, verbalizer: DividedVerbalizer) -> None:
        """Explain with the destination's verbalizer."""


def verbalize(
    setup: VerbalizerSetup,
    subjects: tuple[ModelSubject, ModelSubject],
    training: TrainingData,
    arms: Mapping[str, FittedMap],
    back: Mapping[str, FittedMap],
    seed: int,
    runtime: Runtime,
) -> Verbalized:
    """Explain features and live activations with both verbalizers, one verbalizer in memory at a time.

    Args:
        setup: Dictionary, verbalizers and washouts.
        subjects: Source and destination.
        training: The training data of the map.
        arms: The fitted map and its controls.
        back: The reverse map of each arm.
        seed: Seed of the draws.
        runtime: Store and progress.

    Raises:
        UsageError: If too few features are alive.
        BridgeError: If a verbalizer cannot be loaded.
    """
    src, dst = subjects
    count = setup.positions
    features = FeatureJob(setup, arms, subjects, seed, runtime) if setup.dictionary else None
    readings = ReadingJob(count, training, arms, back, subjects, seed, runtime) if count else None
    jobs: list[Job] = [job for job in (features, readings) if job is not None]
    with opened(setup.src[1], setup.src[0], src, runtime) as verbalizer:
        for job in jobs:
            job.ask_source(verbalizer)
        notes = tell_notes(verbalizer, setup.src[0], runtime.progress)
    del verbalizer
    with opened(setup.dst[1], setup.dst[0], dst, runtime) as verbalizer:
        for job in jobs:
            job.ask_destination(verbalizer)
        notes += tell_notes(verbalizer, setup.dst[0], runtime.progress)
    del verbalizer
    provenance = {"verbalizers": {"src": setup.src[0], "dst": setup.dst[0]}} | (
        features.provenance() if features else {}
    )
    said = list(dict.fromkeys(notes))
    return Verbalized(
        features.result() if features else None, readings.result() if readings else None, provenance, said
    )
