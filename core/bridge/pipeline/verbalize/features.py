"""Explanations of the source's features by both verbalizers: directly, and through every map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from bridge.maps import FittedMap
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.transfer.arms import Vectors, carry_directions
from bridge.pipeline.verbalize.contexts import FeatureContexts, feature_contexts
from bridge.pipeline.verbalize.divided import DividedVerbalizer
from bridge.pipeline.verbalize.records import ContextRecord, FeatureRecord
from bridge.pipeline.verbalize.sampling import Features, background_of, draw_features
from bridge.pipeline.verbalize.setup import VerbalizerSetup
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.scorers import MAPPED, Explained
from bridge.verbalizers import Background, Explanation

ByWashout = dict[str, dict[str, list[Explanation]]]
"""By washout and arm."""


@final
@dataclass(frozen=True)
class ExplainedFeatures:
    """Explanations of features by both verbalizers.

    Attributes:
        features: The explained features.
        contexts: Contexts of each feature.
        directions: Input vectors of the destination's verbalizer by arm, before any washout, (n, d_dst).
        explained: Explanations by washout, the run's first washout first.
    """

    features: Features
    contexts: Sequence[FeatureContexts]
    directions: Mapping[str, Vectors]
    explained: Mapping[str, Explained]

    def records(self) -> list[FeatureRecord]:
        """Return one record per feature and washout."""
        return [
            FeatureRecord(
                int(number),
                washout,
                explained.native[row],
                {arm: explanations[row] for arm, explanations in explained.foreign.items()},
            )
            for washout, explained in self.explained.items()
            for row, number in enumerate(self.features.numbers)
        ]

    def context_records(self) -> list[ContextRecord]:
        """Return one record per feature: its topic, and the passages where it is most active."""
        pairs = zip(self.features.numbers.tolist(), self.contexts, strict=True)
        return [ContextRecord(number, where.contexts, where.topic, where.share) for number, where in pairs]


@final
class FeatureJob:
    """Draws features, and explains them.

    Args:
        setup: Dictionary, options for drawing features, and washouts.
        arms: The fitted map and its controls.
        subjects: Source and destination.
        seed: Seed of the draws.
        runtime: Progress.

    Raises:
        UsageError: If too few features are alive.
    """

    def __init__(
        self,
        setup: VerbalizerSetup,
        arms: Mapping[str, FittedMap],
        subjects: tuple[ModelSubject, ModelSubject],
        seed: int,
        runtime: Runtime,
    ) -> None:
        self._asked, self._seed = setup.drawn, seed
        assert setup.dictionary is not None
        count, use = self._asked.features, self._asked.features_of
        runtime.progress.note(f"Drawing {count} features of the dictionary {self._asked.reference}.")
        self._features = draw_features(subjects[0], setup.dictionary, count, self._seed, use)
        self._where = feature_contexts(subjects[0], setup.dictionary, self._features.numbers)
        self._moved = carry_directions(self._features.vectors, arms, self._seed)
        self._subjects, self._setup, self._runtime = subjects, setup, runtime
        self._native: ByWashout = {}
        self._foreign: ByWashout = {}

    def ask_source(self, verbalizer: DividedVerbalizer) -> None:
        """Explain the features with the source's own verbalizer."""
        self._native = self._explain(verbalizer, {MAPPED: self._features.vectors}, self._subjects[0])

    def ask_destination(self, verbalizer: DividedVerbalizer) -> None:
        """Explain the features, moved by every map, with the destination's verbalizer."""
        self._foreign = self._explain(verbalizer, self._moved, self._subjects[1])

    def result(self) -> ExplainedFeatures:
        """Return the explanations."""
        names = [f"feature {number}" for number in self._features.numbers]
        topics = [where.topic for where in self._where] if any(where.share for where in self._where) else []
        explained = {
            text: Explained(names, self._native[text][MAPPED], self._foreign[text], topics)
            for text in self._setup.washouts
        }
        return ExplainedFeatures(self._features, self._where, self._moved, explained)

    def provenance(self) -> dict[str, Any]:
        """Return the explained features and the washouts."""
        return {
            "dictionary": self._asked.reference,
            "features": self._features.numbers.tolist(),
            "drawn_from": self._features.alive,
            "drawn_of": self._features.use,
            "washouts": list(self._setup.washouts),
            "arms": list(self._moved),
        }

    def _explain(
        self, verbalizer: DividedVerbalizer, by_arm: Mapping[str, Vectors], subject: ModelSubject
    ) -> ByWashout:
        washouts = self._setup.washouts
        background: Background = background_of(subject, self._seed)
        # All arms together, because a large batch takes little longer than a small one.
        vectors, count = np.concatenate(list(by_arm.values())), len(self._features.numbers)
        found: ByWashout = {}
        with self._runtime.progress.stage(
            f"explain by {subject.name}", len(vectors) * len(washouts), "directions"
        ) as advance:
            for text, washout in washouts.items():
                with verbalizer.counted(advance):
                    explanations = washout.explain(verbalizer, vectors, background)
                found[text] = {arm: explanations[i * count : (i + 1) * count] for i, arm in enumerate(by_arm)}
        return found
