"""The folder that a run or a fit leaves: `config.toml`, `bridge.safetensors`, `bridge.json`, `metrics.json`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from bridge.errors import UsageError
from bridge.metrics import Metric, document
from bridge.pipeline.bridge import Bridge
from bridge.pipeline.options import Options
from bridge.pipeline.prepare import Plan
from bridge.store import write_bytes

METRICS, CONFIG, CORPUS = "metrics.json", "config.toml", "corpus.jsonl"


def default_folder(options: Options, command: str = "run") -> Path:
    """Return where results go if the user names no folder: a readable name and a hash of the options, under `runs/`."""
    readable = re.sub(r"[^\w@.\-]+", "_", f"{options.src}--{options.dst}--{options.map}").strip("._")
    key = hashlib.sha256(options.model_dump_json().encode()).hexdigest()[:6]
    return Path("runs") / f"{command}-{readable}-{key}"


def refuse_foreign_folder(out: Path, plan: Plan) -> None:
    """Stop before work begins if a folder holds anything but a run of exactly these options.

    Raises:
        UsageError: If so; nothing is overwritten.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    config = out / CONFIG
    if not config.is_file() or config.read_text(encoding="utf-8") != config_text(plan, out):
        raise UsageError(
            f"{out} already holds something else.",
            cause="It is not a run of exactly these options, and nothing is overwritten.",
            remedy="Choose another --out, or move it away.",
        )


def write_folder(out: Path, plan: Plan, bridge: Bridge, metrics: Iterable[Metric] | None) -> None:
    """Write a bridge, the options that make it again, and its metrics where it was scored.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    if plan.options.corpus == "-":
        write_bytes(out / CORPUS, plan.corpus.to_jsonl().encode())
    write_bytes(out / CONFIG, config_text(plan, out).encode())
    bridge.save(out)
    if metrics is not None:
        data = document(metrics, bridge.provenance)
        write_bytes(out / METRICS, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False).encode())


def config_text(plan: Plan, out: Path) -> str:
    """Return the options as TOML, the corpus pinned by content and named so that they work from any folder."""
    import tomli_w

    options, path = plan.options, Path(plan.options.corpus)
    if options.corpus == "-":
        corpus = str((out / CORPUS).absolute())
    else:
        corpus = str(path.absolute()) if path.exists() else options.corpus
    pinned = options.model_copy(update={"corpus": corpus, "corpus_sha256": plan.corpus.identity})
    return tomli_w.dumps(pinned.model_dump(exclude_none=True))
