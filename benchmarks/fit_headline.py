"""The fit at the widths of the headline pair, 3584 and 5376: five folds, mispaired control beside; time and memory.

Rows are made block by block, and never held; the time that this takes is left out. Beside it, its limit: the float32
products X'X, X'Y, Y'Y and X'Y of the mispaired rows alone, in one call each for every block.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any, final

import numpy as np

from bridge.pipeline.fit.checks import fit_each
from bridge.pipeline.fit.training_data import mispaired_data, training_data
from bridge.plugins import discover
from bridge.products import products_on
from fit import peak_mebibytes, show
from synthetic_rows import BLOCK, FOLDS, SyntheticRows


@final
class Clock:
    """Counts seconds, and processor seconds, but those spent making rows."""

    def __init__(self, rows: SyntheticRows) -> None:
        self._rows = rows
        self._started = self._now()

    def _now(self) -> np.ndarray[Any, Any]:
        return np.array([time.perf_counter() - self._rows.wall, time.process_time() - self._rows.cpu])

    def lap(self) -> dict[str, float]:
        """Return the seconds since the last lap."""
        started, self._started = self._started, self._now()
        return dict(zip(("wall", "cpu"), (self._started - started).tolist(), strict=True))


def measure(rows: SyntheticRows, reverse: bool, device: str = "cpu") -> dict[str, Any]:
    """Fit ridge and its control as `bridge run` does on this device, and back where asked."""
    folds, kind, clock = range(FOLDS), discover().map_type("ridge")(), Clock(rows)
    seconds = {}
    where = products_on(device)
    training = training_data(rows, *rows.widths, folds, expected=rows.n, reverse=reverse, products=where)
    seconds["moments"] = clock.lap()
    mispaired = mispaired_data(rows, training, folds)
    seconds["mispaired moments"] = clock.lap()
    fits = fit_each(kind, [training, mispaired])
    seconds["fits"] = clock.lap()
    if reverse:
        fits += fit_each(kind, [training.reversed(), mispaired.reversed()])
        seconds["fits back"] = clock.lap()
    total = {key: sum(stage[key] for stage in seconds.values()) for key in ("wall", "cpu")}
    penalties = [fitted.chosen()["penalty"] for fitted in fits if not isinstance(fitted, Exception)]
    return {
        "products": training.products,
        "penalties": penalties,
        "peak_gigabytes": peak_mebibytes() * 2**20 / 1e9,
        "seconds": seconds | {"all": total},
    }


def limit(rows: SyntheticRows, blocks: int) -> dict[str, float]:
    """Time the bare products of a few blocks, all threads, and count as many as there are rows."""
    sample = SyntheticRows(blocks * BLOCK, *rows.widths)
    clock = Clock(sample)
    for x, y in sample.blocks():
        for left, right in ((x, x), (x, y), (y, y), (x, y)):
            _ = left.T @ right
    return {key: value * rows.n / sample.n for key, value in clock.lap().items()}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--d-src", type=int, default=3584)
    parser.add_argument("--d-dst", type=int, default=5376)
    parser.add_argument("--like", choices=("real", "steep"), default="real", help="rows of which spectrum")
    parser.add_argument("--back", action="store_true", help="fit the map back too, as `bridge fit --back` does")
    parser.add_argument("--limit-blocks", type=int, default=4, help="of the bare products")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rows = SyntheticRows(options.rows, options.d_src, options.d_dst, options.like)
    load = os.getloadavg()[0]
    result = {"benchmark": "fit_headline", "rows": rows.n, "widths": rows.widths, "load before": load}
    result |= measure(rows, options.back)
    bare = limit(rows, options.limit_blocks)
    result["limit"] = {"seconds": bare, "limit / bridge": {k: bare[k] / result["seconds"]["all"][k] for k in bare}}
    show(result, options.json)


if __name__ == "__main__":
    main()
