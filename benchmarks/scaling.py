"""Scaling on paper: collection and moments of the headline pair on 1, 8 and 64 GPUs, and what limits them.

Measured here: ordering, norms, hash and write of a shard, and reading it back for moments. Assumed, as options: the
forward pass (model FLOPs at an MFU of the peak), copies over PCIe, float32 products on the device, the shared store,
and loading weights. Every worker overlaps the files of a shard with the next forward pass; one process computes the
moments.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bridge.collect.rows import ShardRows, norms_of
from bridge.files.safetensors import pieces
from bridge.references import Site
from bridge.store import Store
from fit import show

SHARD = 30_000
"""Tokens of a shard."""


class Model(NamedTuple):
    """What counts of a model: width, FLOPs of a token up to the site, and bytes of its weights."""

    width: int
    flops: float
    weights: float


# Blocks of Qwen2.5-7B up to 20, and of Gemma-3-27B up to 41: two FLOPs for each weight.
MODELS = {"7B@20": Model(3584, 2 * 21 * 233.1e6, 15.2e9), "27B@41": Model(5376, 2 * 42 * 412.9e6, 54.9e9)}


def measured(width: int, folder: Path | None, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return the seconds of each part of a shard of this width in bfloat16: the fastest of some rounds."""
    import hashlib

    import torch

    best: dict[str, float] = {}

    def lap(name: str, start: float) -> None:
        best[name] = min(best.get(name, math.inf), clock() - start)

    lengths, site = [250] * (SHARD // 250), Site(0)
    drawn = torch.from_numpy(np.random.default_rng(0).normal(size=(SHARD, width)).astype(np.float32)).bfloat16()
    for _ in range(rounds):
        rows = ShardRows(lengths, width, torch.bfloat16, [site])
        start = clock()
        rows.add(list(range(len(lengths))), [drawn])
        lap("copy on the host", start)
        start = clock()
        ordered = rows.ordered(site)
        lap("order", start)
        start = clock()
        norms = norms_of(ordered)
        lap("norms", start)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            artifact = Store(Path(temporary)).artifact("activations", {})
            start = clock()
            digest = hashlib.sha256()
            for piece in pieces({"rows": ordered, "norms": norms}):
                digest.update(piece)
            lap("hash", start)
            start = clock()
            artifact.write(0, {"rows": ordered, "norms": norms}, {})
            lap("hash and write", start)
            start = clock()
            artifact.read(0)["rows"].float().numpy()
            lap("read", start)
    best["write"] = best["hash and write"] - best["hash"]
    return best


def planned(tokens: float, gpus: int, parts: dict[str, dict[str, float]], asked: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of each stage, and what limits collection, for so many tokens and GPUs."""
    shards = math.ceil(tokens / SHARD)
    collect, loading, limits = 0.0, 0.0, []
    for name, model in MODELS.items():
        part, size = parts[name], 2 * SHARD * model.width
        forward = SHARD * model.flops / (asked.peak * asked.mfu)
        copy = size / asked.pcie
        host = part["order"] + part["norms"] + part["hash and write"]
        by = {
            "forward": math.ceil(shards / gpus) * max(forward, copy),
            "host": math.ceil(shards / gpus) * host,
            "store": shards * size / asked.store,
        }
        limit = max(by, key=by.__getitem__)
        limits.append(limit if limit != "forward" or shards % gpus == 0 or shards > 8 * gpus else "few shards")
        collect += by[limit]
        loading += model.weights / asked.store * (gpus if asked.weights_shared else 1)
    d_src, d_dst = (model.width for model in MODELS.values())
    products = 2 * tokens * (d_src**2 + d_dst**2 + 2 * d_src * d_dst) / asked.float32
    reading = shards * sum(part["read"] for part in parts.values())
    return {
        "tokens": f"{tokens:.0e}",
        "GPUs": gpus,
        "load": loading,
        "collect": collect,
        "limited by": ", ".join(limits),
        "moments": 2 * reading + products,  # read once for the moments, once for those of mispaired rows
    }


def main() -> None:
    """Measure, compute, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--tokens", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--peak", type=float, default=989e12, help="FLOP/s of a GPU in bfloat16 (H100 data sheet)")
    parser.add_argument("--mfu", type=float, default=0.5, help="share of the peak that the forward pass reaches")
    parser.add_argument("--float32", type=float, default=40e12, help="FLOP/s of float32 products (H100: 67e12 at most)")
    parser.add_argument("--pcie", type=float, default=25e9, help="bytes/s from the device to pinned memory")
    parser.add_argument("--store", type=float, default=5e9, help="bytes/s of the shared folder, all workers together")
    parser.add_argument("--weights-shared", action="store_true", help="all workers load weights from the shared folder")
    parser.add_argument("--folder", type=Path, help="where shards are written; default: the temporary folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, on a busy machine: no waiting")
    asked = parser.parse_args()
    clock = time.process_time if asked.cpu_time else time.perf_counter
    parts = {name: measured(model.width, asked.folder, asked.rounds, clock) for name, model in MODELS.items()}
    table = [planned(tokens, gpus, parts, asked) for tokens in asked.tokens for gpus in asked.gpus]
    for row in table:
        alone = next(other for other in table if other["tokens"] == row["tokens"])
        row["efficiency of collection"] = alone["collect"] * alone["GPUs"] / row["collect"] / row["GPUs"]
    columns = list(table[0])
    if not asked.json:
        print(" | ".join(columns))
        for row in table:
            print(" | ".join(f"{row[c]:.3g}" if isinstance(row[c], float) else str(row[c]) for c in columns))
    forward = {f"forward of {name}": SHARD * one.flops / (asked.peak * asked.mfu) for name, one in MODELS.items()}
    show(
        {"benchmark": "scaling", "assumed seconds": forward, **parts, **({"table": table} if asked.json else {})},
        asked.json,
    )


if __name__ == "__main__":
    main()
