"""The folder of a run, a fit or a sweep: `bridge.safetensors`, `metrics.json`, and the options to repeat it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.directions import write_arrays, write_record
from bridge.errors import StoreError, UsageError
from bridge.files import write_bytes, write_json, writing
from bridge.files.sealed import sha256_of, write_sealed
from bridge.files.temporaries import sweep_temporaries
from bridge.metrics import Metric, document
from bridge.pipeline.fit.bridge import Bridge, write_bridge
from bridge.pipeline.fit.record import (
    BRIDGE_RECORD,
    CONFIG,
    CONTEXTS,
    CORPUS,
    DIRECTIONS,
    EXPLANATIONS,
    KEPT,
    METRICS,
    OPTIONS,
    READINGS,
    RESULTS,
)
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.remarks import write_copy
from bridge.pipeline.verbalize.activations import reading_records
from bridge.pipeline.verbalize.both_models import Verbalized

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def default_folder(options: Options, command: str = "run") -> Path:
    """Return the default folder of results: a readable name and a hash of the options, under `runs/`."""
    readable = re.sub(r"[^\w@.\-]+", "_", f"{options.models.src}--{options.models.dst}--{options.map.spec}").strip("._")
    written = json.dumps(options.keyed(), separators=(",", ":"), ensure_ascii=False)
    key = hashlib.sha256(written.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return Path("runs") / f"{command}-{readable}-{key}"


def claim_folder(out: Path, plan: Plan, config: str = CONFIG) -> Plan:
    """Refuse a folder that is not writable, or that holds anything but a run with exactly these options.

    Returns:
        The plan for repeating the run from its folder: standard input is replaced by the copy in the folder.

    Raises:
        UsageError: If the folder holds something else; nothing is overwritten.
        StoreError: If the folder cannot be created.
    """
    above = next(path for path in (out, *out.parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise StoreError(
            f"{out} cannot be written.",
            cause=f"{above} is {'a folder without write permission' if above.is_dir() else 'a file'}.",
            remedy="Choose another --out.",
        )
    if plan.options.corpus.source == "-":
        kept = str((out / CORPUS).absolute())
        plan = replace(plan, options=plan.options.updated(corpus=kept))
    sweep_temporaries(out)
    if above == out and any(out.iterdir()):
        there = out / config
        if not there.is_file() or there.read_bytes() != config_text(plan).encode():
            raise UsageError(
                f"{out} already holds something else.",
                cause="It was not written by this command with exactly these options, and nothing is overwritten.",
                remedy="Choose another --out, or move the folder.",
            )
    return plan


def write_config(out: Path, plan: Plan, config: str = CONFIG) -> None:
    """Write the options that repeat the run, and the corpus if it came from standard input.

    Call it before any other file of the folder is written: the options say whose folder it is, so that an interrupted
    command continues there. The folder is checked again, because it may have been taken since the command began.

    Raises:
        UsageError: If the folder holds something else.
        StoreError: If the disk is full or read-only.
    """
    claim_folder(out, plan, config)
    write_bytes(out / config, config_text(plan).encode())
    if plan.options.corpus.source == str((out / CORPUS).absolute()):
        write_copy(plan.corpus, out / CORPUS)


def write_folder(
    out: Path,
    bridge: Bridge,
    metrics: Iterable[Metric] | None = None,
    verbalized: Verbalized | None = None,
    kept: Mapping[str, NDArray[np.floating]] | None = None,
) -> None:
    """Write results into a folder that `write_config` took, and last `bridge.json`, which binds its files.

    A run calls this after each stage. Without metrics, other results that have a record are kept, and bound again.
    Otherwise results that are not given were left by an earlier version or an interrupted command, and are deleted.

    Args:
        out: The folder.
        bridge: The bridge.
        metrics: Its metrics, if it was scored.
        verbalized: The explanations, if anything was explained.
        kept: The arrays that scorers keep.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    begun = metrics is None and (out / BRIDGE_RECORD).exists()
    names = _write_explanations(out, verbalized) if verbalized else []
    if kept:
        write_arrays(out / KEPT, {name: array.astype(np.float32) for name, array in kept.items()}, {})
        names.append(KEPT)
    if metrics is not None:
        write_json(out / METRICS, document(metrics, bridge.provenance))
        names.append(METRICS)
    with writing(out):
        for name in () if begun else set(RESULTS) - set(names):
            (out / name).unlink(missing_ok=True)
    write_bridge(bridge, out, (*OPTIONS, *RESULTS))


def write_sweep_metrics(out: Path, metrics: Mapping[str, object]) -> None:
    """Write the metrics of a sweep, with the hashes of the options that repeat it.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    write_sealed(out / METRICS, {**metrics, "files": sha256_of(out, OPTIONS)})


def _write_explanations(out: Path, verbalized: Verbalized) -> list[str]:
    """Write explanations and contexts as JSON Lines, and directions as safetensors; return the files' names."""
    names = []
    if verbalized.readings:
        _write_lines(out / READINGS, reading_records(verbalized.readings))
        names.append(READINGS)
    if features := verbalized.features:
        _write_lines(out / EXPLANATIONS, features.records())
        _write_lines(out / CONTEXTS, features.context_records())
        write_record(
            out / DIRECTIONS, {"source": features.features.vectors, **features.directions}, verbalized.provenance
        )
        names += [EXPLANATIONS, CONTEXTS, DIRECTIONS]
    return names


def _write_lines(path: Path, records: Iterable[DataclassInstance]) -> None:
    write_bytes(path, "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records).encode())


def config_text(plan: Plan) -> str:
    """Return the options as TOML."""
    import tomli_w

    return tomli_w.dumps({name: value for name, value in plan.options.experiment().items() if value is not None})
