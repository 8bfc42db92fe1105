"""Cross-validated ridge from moments, against scikit-learn's grid search over the same folds; and its memory.

Rows are synthetic, of the spectrum that a residual stream has: a few directions hold most of the variance, the rest
falls off as a power law, and half of the destination's variance is noise. Row i depends on the seed and i alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.maps import AffineMap, TrainingData
from bridge.moments import Moments
from bridge.pipeline.fit import versions
from bridge.plugins import discover
from bridge_maps.ridge import penalty_grid

D_SRC, D_DST, RANK, FOLDS = 576, 640, 160, 5
BLOCK = 4096
"""Rows at a time: about what one shard of a collection adds to one fold."""

TARGET_SPEED, TARGET_DIFFERENCE = 10.0, 1e-6

Block = tuple[NDArray[Any], NDArray[Any]]


def generate(rows: int, seed: int = 0) -> Iterator[Block]:
    """Yield blocks of paired float32 rows, (BLOCK, D_SRC) and (BLOCK, D_DST); block i belongs to fold i % FOLDS."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, RANK + 1) ** -0.7
    to_src = (scale[:, None] * rng.standard_normal((RANK, D_SRC))).astype(np.float32)
    to_dst = (scale[:, None] * rng.standard_normal((RANK, D_DST))).astype(np.float32)
    mean_src, mean_dst = (3 * rng.standard_normal(width).astype(np.float32) for width in (D_SRC, D_DST))
    noise = np.float32(np.sqrt(np.sum(scale**2)))
    for index, start in enumerate(range(0, rows, BLOCK)):
        draw = np.random.default_rng((seed, index))
        n = min(BLOCK, rows - start)
        latent = draw.standard_normal((n, RANK), dtype=np.float32)
        x = latent @ to_src + 0.05 * draw.standard_normal((n, D_SRC), dtype=np.float32) + mean_src
        y = latent @ to_dst + noise * draw.standard_normal((n, D_DST), dtype=np.float32) + mean_dst
        yield x, y


def fit_bridge(blocks: Iterable[Block]) -> tuple[AffineMap, TrainingData]:
    """Summarise the blocks and fit the registered ridge, its penalty by cross-validation."""
    folds = [Moments.empty(D_SRC, D_DST) for _ in range(FOLDS)]
    for index, (x, y) in enumerate(blocks):
        folds[index % FOLDS] += Moments.of(x, y)
    data = TrainingData(tuple(folds), lambda: iter(()))
    fitted = discover().map_type("ridge")().fit(data)
    assert isinstance(fitted, AffineMap)
    return fitted, data


def products(x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Multiply out X'X, X'Y and Y'Y, in one call each: what no method that sees every row can do without."""
    for left, right in ((x, x), (x, y), (y, y)):
        _ = left.T @ right


def fit_sklearn(x: NDArray[np.float64], y: NDArray[np.float64], penalties: Sequence[float]) -> Any:
    """Run scikit-learn's grid search over the same folds, penalties and score."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import make_scorer, r2_score
    from sklearn.model_selection import GridSearchCV, PredefinedSplit

    search = GridSearchCV(
        Ridge(),
        {"alpha": list(penalties)},
        scoring=make_scorer(r2_score, multioutput="variance_weighted"),
        cv=PredefinedSplit(np.arange(len(x)) // BLOCK % FOLDS),
        n_jobs=None,
    )
    return search.fit(x, y)


def measure(rows: int, rounds: int, skip_sklearn: bool) -> dict[str, Any]:
    """Time bridge and the bare products in turn, then scikit-learn once, and compare the solutions."""
    blocks = list(generate(rows))
    x, y = (np.concatenate(side).astype(np.float64) for side in zip(*blocks, strict=True))
    fit_bridge(blocks[: 2 * FOLDS])
    seconds: dict[str, list[float]] = {"bridge": [], "products": []}
    for _ in range(rounds):
        start = time.perf_counter()
        fitted, data = fit_bridge(blocks)
        middle = time.perf_counter()
        products(x, y)
        seconds["bridge"].append(middle - start)
        seconds["products"].append(time.perf_counter() - middle)
    own = statistics.median(seconds["bridge"])
    of_limit = [limit / ours for ours, limit in zip(*seconds.values(), strict=True)]
    result: dict[str, Any] = {"seconds": {name: spread(values) for name, values in seconds.items()}}
    result["products / bridge"] = spread(of_limit)
    penalty = fitted.chosen()["penalty"]
    result["penalty"] = {"bridge": penalty}
    if not skip_sklearn:
        del blocks
        start = time.perf_counter()
        search = fit_sklearn(x, y, penalty_grid(data.moments))
        taken = time.perf_counter() - start
        reference = search.best_estimator_.coef_.T
        difference = np.abs(fitted.weight - reference).max() / np.abs(reference).max()
        chosen = search.best_params_["alpha"]
        result["seconds"]["sklearn"] = taken
        result["sklearn / bridge"] = {"ratio": taken / own, "target": TARGET_SPEED}
        result["penalty"] |= {"sklearn": chosen, "same": chosen == penalty}
        result["coefficients"] = {"largest relative difference": float(difference), "target": TARGET_DIFFERENCE}
    return result


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def peak_mebibytes() -> float:
    """Return this process's peak resident memory.

    From /proc where there is one: `ru_maxrss` of a child starts at what its parent held when it was started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes, on macOS


def memory_at(sizes: Sequence[int], script: str, *arguments: str) -> dict[str, Any]:
    """Run a script with `--peak SIZE` in a fresh process for each size; return the peaks in MiB, and last / first."""
    peaks = []
    for size in sizes:
        command = [sys.executable, script, "--peak", str(size), *arguments]
        peaks.append(float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    return {"sizes": list(sizes), "peak_mebibytes": peaks, "ratio": peaks[-1] / peaks[0]}


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print a result, with the versions of what computed it, for a program or for a person."""
    result |= {"cores": os.cpu_count(), "versions": versions()}
    if as_json:
        print(json.dumps(result, indent=1))
        return
    for key, value in result.items():
        nested = value.items() if isinstance(value, dict) else ()
        print(f"{key}:" if nested else f"{key}: {value}")
        for name, part in nested:
            text = ", ".join(f"{k} {v:.4g}" for k, v in part.items()) if isinstance(part, dict) else part
            print(f"  {name}: {text}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--rounds", type=int, default=3, help="of bridge and the products; scikit-learn runs once")
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[50_000, 250_000], help="none to skip")
    parser.add_argument("--skip-sklearn", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        fit_bridge(generate(options.peak))
        print(peak_mebibytes())
        return
    if options.rows < FOLDS * BLOCK:
        parser.error(f"--rows must be at least {FOLDS * BLOCK}: a block for each fold")
    result = {"benchmark": "fit", "rows": options.rows, "d_src": D_SRC, "d_dst": D_DST}
    result |= measure(options.rows, options.rounds, options.skip_sklearn)
    if options.memory_rows:
        result["memory"] = memory_at(options.memory_rows, __file__)
    show(result, options.json)


if __name__ == "__main__":
    main()
