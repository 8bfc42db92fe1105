"""What a page is made of: the files that commands left, as they lie on disk, checked before anything is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.metrics import Metric
from bridge.pipeline.jobs.explain import Reading
from bridge.pipeline.verbalize.records import ContextRecord, FeatureRecord, PositionRecord

Matrix = NDArray[np.floating]


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
    said: Mapping[str, list[FeatureRecord]]
    similarity: Mapping[tuple[str, str], Matrix]
    kept: Mapping[str, Matrix]
    where: Mapping[int, ContextRecord]
    positions: Sequence[PositionRecord]


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
class ReadingsFile:
    """What `bridge explain --out` wrote."""

    path: Path
    readings: list[Reading]
    about: Mapping[str, Any]
    fve: float | None
    mean_cosine: float | None


Input = RunFiles | AuditFile | SteeringFile | SweepFiles | ReadingsFile
