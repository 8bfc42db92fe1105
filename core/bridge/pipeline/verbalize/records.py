"""What a run leaves of explanations, a record a line: written by jobs, read by reports, declared here alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from bridge.pipeline.verbalize.contexts import Context
from bridge.verbalizers import Explanation


@final
@dataclass(frozen=True)
class FeatureRecord:
    """A line of `explanations.jsonl`: what both verbalizers say of one feature, under one washout.

    Attributes:
        feature: Its number in the dictionary.
        washout: What names the washout.
        native: By the source's own verbalizer.
        foreign: By the destination's, of what every arm made of it.
    """

    feature: int
    washout: str
    native: Explanation
    foreign: Mapping[str, Explanation]


@final
@dataclass(frozen=True)
class ContextRecord:
    """A line of `contexts.jsonl`: where a feature is active.

    Attributes:
        feature: Its number in the dictionary.
        contexts: The passages where it is strongest.
        topic: The topic that it belongs to, or empty.
        share: The share of its activity that its most frequent topic has.
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
        text: The text up to it.
        topic: What that text is about, or empty.
        said: What every arm's verbalizer says, by arm.
    """

    text: str
    topic: str
    said: Mapping[str, Explanation]
