"""Cross-validated ridge from moments, against scikit-learn's grid search over the same folds; and its memory.

Of the rows of `synthetic_rows.py`, the `real` ones are multiplied in float32, and the `steep` ones need float64.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.maps import AffineMap, TrainingData
from bridge.pipeline.fit.training_data import Parts, training_data
from bridge.pipeline.plan.provenance import versions
from bridge.plugins import discover
from bridge.scorers import Rows
from bridge_maps.ridge import penalty_grid
from synthetic_rows import BLOCK, FOLDS, SyntheticRows

D_SRC, D_DST = 576, 640
TARGET_SPEED, TARGET_DIFFERENCE = 10.0, 1e-6

Block = tuple[NDArray[Any], NDArray[Any]]


@final
class Held:
    """Rows in memory: made once, and fitted again in every round."""

    def __init__(self, rows: SyntheticRows) -> None:
        self._parts = list(rows.parts(range(FOLDS)))

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        """Yield blocks with their folds."""
        return ((fold, part) for fold, part in self._parts if fold in folds)

    def matrices(self) -> Block:
        """Return all rows in float64."""
        blocks = [part for _, part in self._parts]
        return tuple(np.concatenate([getattr(part, side) for part in blocks]).astype(np.float64) for side in "xy")


def fit_bridge(rows: Parts, number: int) -> tuple[AffineMap, TrainingData]:
    """Summarise the rows and fit the registered ridge, its penalty by cross-validation."""
    data = training_data(rows, D_SRC, D_DST, range(FOLDS), expected=number)
    fitted = discover().map_type("ridge")().fit(data)
    assert isinstance(fitted, AffineMap)
    return fitted, data


def products(x: NDArray[Any], y: NDArray[Any]) -> None:
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


def measure(number: int, like: str, rounds: int, skip_sklearn: bool) -> dict[str, Any]:
    """Time bridge and the bare products in turn, then scikit-learn once, and compare the solutions."""
    rows = Held(SyntheticRows(number, D_SRC, D_DST, like))
    x, y = rows.matrices()
    small = x.astype(np.float32), y.astype(np.float32)
    fit_bridge(Held(SyntheticRows(2 * FOLDS * BLOCK, D_SRC, D_DST, like)), 2 * FOLDS * BLOCK)
    seconds: dict[str, list[float]] = {"bridge": [], "float32 products": [], "float64 products": []}
    for _ in range(rounds):
        starts = [time.perf_counter()]
        fitted, data = fit_bridge(rows, number)
        for sides in (small, (x, y)):
            starts.append(time.perf_counter())
            products(*sides)
        for taken, start, end in zip(seconds.values(), starts, [*starts[1:], time.perf_counter()], strict=True):
            taken.append(end - start)
    own = statistics.median(seconds["bridge"])
    result: dict[str, Any] = {"products": data.products, "seconds": {k: spread(v) for k, v in seconds.items()}}
    limits = seconds[f"{data.products} products"]
    result["products / bridge"] = spread([limit / ours for limit, ours in zip(limits, seconds["bridge"], strict=True)])
    penalty = fitted.chosen()["penalty"]
    result["penalty"] = {"bridge": penalty}
    if not skip_sklearn:
        del rows, small
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
    parser.add_argument("--like", choices=("real", "steep"), default="steep", help="rows of which spectrum")
    parser.add_argument("--rounds", type=int, default=3, help="of bridge and the products; scikit-learn runs once")
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[50_000, 250_000], help="none to skip")
    parser.add_argument("--skip-sklearn", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        fit_bridge(SyntheticRows(options.peak, D_SRC, D_DST, options.like), options.peak)
        print(peak_mebibytes())
        return
    if options.rows < FOLDS * BLOCK:
        parser.error(f"--rows must be at least {FOLDS * BLOCK}: a block for each fold")
    result = {"benchmark": "fit", "rows": options.rows, "d_src": D_SRC, "d_dst": D_DST, "like": options.like}
    result |= measure(options.rows, options.like, options.rounds, options.skip_sklearn)
    if options.memory_rows:
        result["memory"] = memory_at(options.memory_rows, __file__, "--like", options.like)
    show(result, options.json)


if __name__ == "__main__":
    main()
