"""Reading the results of commands; an error names every missing, damaged or foreign file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, Field

from bridge.directions import read_vectors
from bridge.errors import BridgeError
from bridge.files.bounded import read_text
from bridge.files.json import AGAIN, read_json, read_json_lines
from bridge.files.sealed import need_files, read_sealed
from bridge.files.toml import parse_toml
from bridge.metrics import SCHEMA, Metric
from bridge.pipeline.fit.record import (
    CONFIG,
    CONTEXTS,
    EXPLANATIONS,
    KEPT,
    METRICS,
    OPTIONS,
    READINGS,
    SWEEP_CONFIG,
    WHOLE,
    BridgeRecord,
    read_record,
)
from bridge.pipeline.readings import Reading
from bridge.pipeline.verbalize.contexts import Context
from bridge.pipeline.verbalize.records import ContextRecord, FeatureRecord, PositionRecord
from bridge.scorers import MAPPED

Matrix = NDArray[np.floating]


def _with_ends(record: Any) -> Any:
    """Turn an unknown interval, null in JSON, into NaN."""
    ends = {end: math.nan for end in ("low", "high") if isinstance(record, dict) and record.get(end, "") is None}
    return record | ends if ends else record


class _Result(BaseModel):
    """The schema of `--out` files and `metrics.json`, with the parts of every command."""

    version: int = Field(alias="schema")
    files: dict[str, str] = {}
    bridge: dict[str, Any]
    metrics: list[Annotated[Metric, BeforeValidator(_with_ends)]] = []
    generated: list[dict[str, str]] | None = None
    readings: list[Reading] | None = None
    fve: float | None = None
    fve_nrm: float | None = None
    mean_cosine: float | None = None


@final
@dataclass(frozen=True)
class ResultFile:
    """A result of `bridge audit`, `steer`, `explain` or `sweep`, with its command (`kind`) and path."""

    kind: str
    path: Path
    result: _Result


@final
@dataclass(frozen=True)
class RunFiles:
    """A run's folder.

    Attributes:
        folder: Path of the folder.
        record: `bridge.json`.
        metrics: The metrics of `metrics.json`, in order.
        config: The text of `config.toml`.
        explanations: Explanations by washout, the run's first washout first; empty if no features were explained.
        kept: The arrays that scorers kept, by name.
        contexts: Contexts by feature; empty if no features were explained.
        positions: Explained live activations; may be empty.
    """

    folder: Path
    record: BridgeRecord
    metrics: Sequence[Metric]
    config: str
    explanations: Mapping[str, list[FeatureRecord]]
    kept: Mapping[str, Matrix]
    contexts: Mapping[int, ContextRecord]
    positions: Sequence[PositionRecord]

    def similarity(self, washout: str, arm: str) -> Matrix | None:
        """Return the cosines of native (rows) and foreign texts (columns), (n, n); None if not scored."""
        return self.kept.get(f"similarity.{washout}.{arm}")


def read_input(path: Path) -> RunFiles | ResultFile:
    """Read a run's or sweep's folder, or a JSON file that `bridge audit`, `steer` or `explain` wrote with --out.

    Raises:
        BridgeError: If the path is none of these, or damaged.
    """
    if path.is_dir():
        return read_sweep(path) if (path / SWEEP_CONFIG).is_file() else read_run(path)
    found = _checked(path, read_sealed(path, _Result))
    if isinstance(found.bridge.get("pairs"), list):
        return ResultFile("audit", path, found)
    if found.readings is not None:
        return ResultFile("readings", path, found)
    contrast = found.bridge.get("contrast")
    classes = contrast.get("classes") if isinstance(contrast, dict) else None
    whole = found.generated is not None and all("prompt" in texts for texts in found.generated)
    if not whole or not isinstance(classes, list) or len(classes) != 2:
        raise _refused(
            path, "It is not a result of bridge audit, steer or explain", "For a run or a sweep, give the folder."
        )
    return ResultFile("steering", path, found)


def read_sweep(folder: Path) -> ResultFile:
    """Read a sweep's folder.

    Raises:
        BridgeError: If a file is missing or damaged, or the files belong to different sweeps.
    """
    path = folder / METRICS
    found = _checked(path, read_sealed(path, _Result))
    need_files(path, found.files, OPTIONS, WHOLE)
    return ResultFile("sweep", folder, found)


def read_run(folder: Path) -> RunFiles:
    """Read a run's folder.

    Raises:
        BridgeError: If a file is missing or damaged, or the files belong to different runs.
    """
    record = read_record(folder)
    result = _checked(folder / METRICS, read_json(folder / METRICS, _Result))
    if record.provenance != result.bridge:
        raise _refused(folder, f"{METRICS} and bridge.json belong to different runs")
    try:
        config = read_text(folder / CONFIG, "settings")
        parse_toml(config)
    except (OSError, ValueError) as error:
        raise _refused(folder / CONFIG, f"The file is not TOML ({error})") from error
    kept = read_vectors(folder / KEPT) if (folder / KEPT).is_file() else {}
    run = RunFiles(
        folder, record, result.metrics, config, _explanations(folder), kept, _contexts(folder), _positions(folder)
    )
    for washout, some in run.explanations.items():
        for arm in some[0].foreign:
            matrix, n = run.similarity(washout, arm), len(some)
            if matrix is not None and (matrix.shape != (n, n) or not np.abs(matrix).max(initial=0) <= 1.001):
                raise _refused(folder / KEPT, f"The cosines of {arm} with washout {washout} are not ({n}, {n})")
    return run


def _checked(path: Path, found: _Result) -> _Result:
    if found.version != SCHEMA:
        cause = f"It has schema {found.version} from a newer version; this version of bridge reads schema {SCHEMA}"
        raise _refused(path, cause, "Upgrade residual-bridge.")
    if found.readings is None and "metrics" not in found.model_fields_set:
        raise _refused(path, "It has no metrics")
    if not all(math.isfinite(metric.value) for metric in found.metrics):
        raise _refused(path, "A metric has no finite value")
    return found


def _explanations(folder: Path) -> dict[str, list[FeatureRecord]]:
    found: dict[str, list[FeatureRecord]] = {}
    for one in read_json_lines(folder / EXPLANATIONS, FeatureRecord, missing=True):
        found.setdefault(one.washout, []).append(one)
    shapes = {tuple((one.feature, *one.foreign) for one in some) for some in found.values()}
    if len(shapes) > 1 or not all(MAPPED in one.foreign for some in found.values() for one in some):
        raise _refused(folder / EXPLANATIONS, "Its washouts differ in features or arms")
    return found


def _contexts(folder: Path) -> dict[int, ContextRecord]:
    found = read_json_lines(folder / CONTEXTS, ContextRecord, missing=True)
    if not all(_in_order(context) for one in found for context in one.contexts):
        raise _refused(folder / CONTEXTS, "A token is outside its text")
    return {one.feature: one for one in found}


def _positions(folder: Path) -> list[PositionRecord]:
    found = read_json_lines(folder / READINGS, PositionRecord, missing=True)
    if len({frozenset(one.said) for one in found}) > 1:
        raise _refused(folder / READINGS, "Its positions differ in arms")
    return found


def _in_order(context: Context) -> bool:
    places = [place for start, end, _ in context.spans for place in (start, end)]
    rising = all(low <= high for low, high in pairwise([0, *places, len(context.text)]))
    return rising and all(math.isfinite(value) for *_, value in context.spans)


def _refused(path: Path, cause: str, remedy: str = AGAIN) -> BridgeError:
    return BridgeError(f"{path} cannot be reported.", cause=f"{cause}.", remedy=remedy)
