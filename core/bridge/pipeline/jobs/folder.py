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

from bridge.directions import write_arrays
from bridge.errors import StoreError, UsageError
from bridge.files import write_bytes, write_json
from bridge.metrics import Metric, document
from bridge.pipeline.fit.bridge import Bridge, write_bridge
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.remarks import write_copy
from bridge.pipeline.verbalize.activations import reading_records
from bridge.pipeline.verbalize.both_models import Verbalized
from bridge.temporaries import sweep_temporaries

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

EXPLANATIONS, DIRECTIONS, KEPT = "explanations.jsonl", "directions.safetensors", "scored.safetensors"
CONTEXTS, READINGS = "contexts.jsonl", "readings.jsonl"
METRICS, CONFIG, SWEEP_CONFIG, CORPUS = "metrics.json", "config.toml", "sweep.toml", "corpus.jsonl"


def default_folder(options: Options, command: str = "run") -> Path:
    """Return the default folder of results: a readable name and a hash of the options, under `runs/`."""
    readable = re.sub(r"[^\w@.\-]+", "_", f"{options.models.src}--{options.models.dst}--{options.map.spec}").strip("._")
    written = json.dumps(options.keyed(), separators=(",", ":"), ensure_ascii=False)
    key = hashlib.sha256(written.encode()).hexdigest()[:6]
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


def write_folder(out: Path, bridge: Bridge, metrics: Iterable[Metric] | None) -> None:
    """Write a bridge, and its metrics if it was scored, into a folder that `write_config` took.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    write_bridge(bridge, out)  # the folder was claimed for exactly these options
    if metrics is not None:
        write_json(out / METRICS, document(metrics, bridge.provenance))


def write_explanations(out: Path, verbalized: Verbalized) -> None:
    """Write the explanations as JSON Lines, with the features' contexts, and the directions as safetensors.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    if verbalized.readings:
        _write_lines(out / READINGS, reading_records(verbalized.readings))
    if features := verbalized.features:
        _write_lines(out / EXPLANATIONS, features.records())
        _write_lines(out / CONTEXTS, features.context_records())
        directions = {"source": features.features.vectors, **features.directions}
        write_arrays(out / DIRECTIONS, directions, {"residual-bridge": json.dumps(verbalized.provenance)})


def write_kept(out: Path, kept: Mapping[str, NDArray[np.floating]]) -> None:
    """Write the arrays that scorers keep as safetensors; if there are none, delete the file of an earlier run.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    if not kept:
        (out / KEPT).unlink(missing_ok=True)
    else:
        write_arrays(out / KEPT, {name: array.astype(np.float32) for name, array in kept.items()}, {})


def _write_lines(path: Path, records: Iterable[DataclassInstance]) -> None:
    write_bytes(path, "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records).encode())


def config_text(plan: Plan) -> str:
    """Return the options as TOML."""
    import tomli_w

    return tomli_w.dumps({name: value for name, value in plan.options.experiment().items() if value is not None})
