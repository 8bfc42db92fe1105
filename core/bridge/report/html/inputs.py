"""What a page is made of: the files that commands left, as they lie on disk, checked before anything is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.metrics import Metric
from bridge.verbalizers import Explanation

Matrix = NDArray[np.floating]


@final
@dataclass(frozen=True)
class Said:
    """What both verbalizers said of one feature, under one washout.

    Attributes:
        feature: Its number in the dictionary.
        native: By the source's own verbalizer.
        foreign: By the destination's, of what every arm made of it.
    """

    feature: int
    native: Explanation
    foreign: Mapping[str, Explanation]


@final
@dataclass(frozen=True)
class Context:
    """A passage in which a feature is active.

    Attributes:
        text: The passage.
        spans: Start, end and activation of its active tokens, in characters of the text, in order.
    """

    text: str
    spans: list[tuple[int, int, float]]


@final
@dataclass(frozen=True)
class Where:
    """Where a feature is active: the passages where it is strongest, and the topic that it belongs to, or empty."""

    feature: int
    contexts: list[Context]
    topic: str
    share: float


@final
@dataclass(frozen=True)
class Position:
    """A live activation: the text up to it, the topic of that text or empty, and what every arm says, by name."""

    text: str
    topic: str
    said: Mapping[str, Explanation]


@final
@dataclass(frozen=True)
class RunFiles:
    """A run's folder.

    Attributes:
        folder: Where it lies.
        record: `bridge.json`.
        metrics: Of `metrics.json`, in their order.
        config: The text of `config.toml`.
        said: By washout, the run's own first; empty where no features were explained.
        similarity: By washout and arm the cosines of native (rows) and foreign texts (columns), (n, n).
        kept: All arrays that scorers kept, by name.
        where: By feature where it is active; empty where no features were explained.
        positions: Live activations that were read; empty where none were.
    """

    folder: Path
    record: Mapping[str, Any]
    metrics: list[Metric]
    config: str
    said: Mapping[str, list[Said]]
    similarity: Mapping[tuple[str, str], Matrix]
    kept: Mapping[str, Matrix]
    where: Mapping[int, Where]
    positions: Sequence[Position]


@final
@dataclass(frozen=True)
class AuditFile:
    """What `bridge audit --out` wrote."""

    path: Path
    metrics: list[Metric]
    pairs: list[Mapping[str, Any]]


@final
@dataclass(frozen=True)
class SteeringFile:
    """What `bridge steer --out` wrote: the metrics, and by prompt what the model generates, by arm."""

    path: Path
    metrics: list[Metric]
    about: Mapping[str, Any]
    generated: list[Mapping[str, str]]


@final
@dataclass(frozen=True)
class SweepFiles:
    """A sweep's folder."""

    path: Path
    metrics: list[Metric]


@final
@dataclass(frozen=True)
class Read:
    """One explained activation or direction; the fields are those of `bridge.pipeline.jobs.explain.Reading`."""

    text: str
    token: str
    position: int
    explanation: str
    flags: tuple[str, ...] = ()
    round_trip: float | None = None


@final
@dataclass(frozen=True)
class ReadingsFile:
    """What `bridge explain --out` wrote."""

    path: Path
    readings: list[Read]
    about: Mapping[str, Any]
    fve: float | None
    mean_cosine: float | None


Input = RunFiles | AuditFile | SteeringFile | SweepFiles | ReadingsFile
