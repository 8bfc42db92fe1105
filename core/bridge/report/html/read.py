"""Reading what commands left; whatever is missing, damaged or of another program is named, and nothing is guessed."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bridge.errors import BridgeError
from bridge.metrics import SCHEMA, Metric
from bridge.pipeline.fit.record import BRIDGE_RECORD
from bridge.pipeline.jobs.explain import Reading
from bridge.pipeline.jobs.folder import CONFIG, METRICS, SWEEP_CONFIG
from bridge.report.html.inputs import AuditFile, Input, ReadingsFile, RunFiles, SteeringFile, SweepFiles
from bridge.report.html.read_explanations import read_explanations, read_kept, read_similarity
from bridge.report.html.read_places import read_positions, read_where


def read_input(path: Path) -> Input:
    """Read a run's or sweep's folder, or a JSON file that `bridge audit`, `steer` or `explain` wrote with --out.

    Raises:
        BridgeError: If it is none of these, or damaged.
    """
    if path.is_dir():
        return SweepFiles(path, _metrics(path / METRICS)) if (path / SWEEP_CONFIG).is_file() else read_run(path)
    found = _document(path)
    about = found["bridge"]
    if isinstance(about.get("pairs"), list):
        return AuditFile(path, _metrics(path), _checked(list[dict[str, Any]], about["pairs"], path))
    if "generated" in found:
        generated = _checked(list[dict[str, str]], found["generated"], path)
        if not all("prompt" in texts for texts in generated) or not _classes(about):
            raise _refused(path, "It has no classes, or a generated text has no prompt")
        return SteeringFile(path, _metrics(path), about, generated)
    if "readings" in found:
        readings = _checked(list[Reading], found["readings"], path)
        scores = [_checked(float | None, found.get(name), path) for name in ("fve", "mean_cosine")]
        return ReadingsFile(path, readings, about, *scores)
    raise _refused(path, "It is no result of bridge audit, steer or explain", "Of a run or a sweep, give the folder.")


def read_run(folder: Path) -> RunFiles:
    """Read a run's folder.

    Raises:
        BridgeError: If a file is missing or damaged, or they do not belong together.
    """
    for name in (METRICS, BRIDGE_RECORD, CONFIG):
        if not (folder / name).is_file():
            raise _refused(folder, f"There is no {name}", "Give a folder that `bridge run` or `bridge sweep` wrote.")
    found, record = _document(folder / METRICS), _json(folder / BRIDGE_RECORD)
    if not isinstance(record, dict) or record.get("provenance") != found["bridge"]:
        raise _refused(folder, f"{METRICS} and {BRIDGE_RECORD} are not of the same run")
    if not all(isinstance(record.get(name), str) for name in ("src", "dst", "map")):
        raise _refused(folder / BRIDGE_RECORD, "It does not name two models and a map")
    config = _text(folder / CONFIG)
    try:
        tomllib.loads(config)
    except tomllib.TOMLDecodeError as error:
        raise _refused(folder / CONFIG, f"It is no TOML ({error})") from error
    said, kept = read_explanations(folder), read_kept(folder)
    similarity = read_similarity(folder, said, kept)
    where, positions = read_where(folder), read_positions(folder)
    return RunFiles(folder, record, _metrics(folder / METRICS), config, said, similarity, kept, where, positions)


def _classes(about: Mapping[str, Any]) -> bool:
    contrast = about.get("contrast")
    return isinstance(contrast, dict) and isinstance(contrast.get("classes"), list) and len(contrast["classes"]) == 2


def _document(path: Path) -> dict[str, Any]:
    found = _json(path)
    if not isinstance(found, dict) or not isinstance(found.get("bridge"), dict) or "schema" not in found:
        raise _refused(path, "It is no result of bridge")
    if found["schema"] != SCHEMA:
        raise BridgeError(
            f"{path} has schema {found['schema']}, and this bridge reads schema {SCHEMA}.",
            cause="It was written by a newer version.",
            remedy="Upgrade residual-bridge.",
        )
    return found


def _metrics(path: Path) -> list[Metric]:
    records = _document(path).get("metrics")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise _refused(path, "It holds no metrics")
    # An interval that could not be had is null in JSON, and NaN in a Metric.
    known = [
        {**record, **{end: math.nan for end in ("low", "high") if record.get(end, "") is None}} for record in records
    ]
    metrics: list[Metric] = _checked(list[Metric], known, path)
    if not all(math.isfinite(metric.value) for metric in metrics):
        raise _refused(path, "A metric has no finite value")
    return metrics


def _checked(kind: Any, value: Any, path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "A record"
        raise _refused(path, f"{where}: {first['msg']}") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"It is no JSON ({error})") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(path, f"It cannot be read as text ({error})") from error


def _refused(path: Path, cause: str, remedy: str = "") -> BridgeError:
    again = "Copy it again, or run the command that made it again: cached activations make that quick."
    return BridgeError(f"{path} cannot be reported.", cause=f"{cause}.", remedy=remedy or again)
