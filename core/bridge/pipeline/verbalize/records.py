"""Records of explanations in a run's folder, one per line: written by jobs and read by reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from bridge.pipeline.verbalize.contexts import Context
from bridge.verbalizers import Explanation


@final
@dataclass(frozen=True)
class FeatureRecord:
    """A line of `explanations.jsonl`: both verbalizers' explanations of one feature, with one washout.

    Attributes:
        feature: Number of the feature in the dictionary.
        washout: Name of the washout.
        native: Explanation by the source's own verbalizer.
        foreign: Explanations by the destination's verbalizer, by arm.
    """

    feature: int
    washout: str
    native: Explanation
    foreign: Mapping[str, Explanation]


@final
@dataclass(frozen=True)
class ContextRecord:
    """A line of `contexts.jsonl`: the contexts of a feature.

    Attributes:
        feature: Number of the feature in the dictionary.
        contexts: The passages where the feature is most active.
        topic: The topic with more than half of the feature's activity, or empty.
        share: The share of the most frequent topic in the feature's activity.
    """

    feature: int
    contexts: list[Context]
    topic: str
    share: float


@final
@dataclass(frozen=True)
class PositionRecord:
    """A line of `readings.jsonl`: a live activation.

    Attributes:
        text: The text up to the position.
        topic: Topic of the text, or empty.
        said: Explanations by arm.
    """

    text: str
    topic: str
    said: Mapping[str, Explanation]
