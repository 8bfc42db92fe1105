"""Agreement of projections on moved directions with projections on the given directions, over paired held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.metrics import jackknife_interval
from bridge.pipeline.transfer.held_out import HeldOutRows, finite
from bridge.scorers import MISPAIRED

Array = NDArray[np.float64]


def score_directions(rows: HeldOutRows, vectors: Mapping[str, NDArray[np.floating]]) -> dict[str, dict[str, Any]]:
    """Return for each name the correlation of projections of paired held-out rows across the two models.

    The projection of a source row on a given direction, x v, is compared with the projection of its paired row on the
    moved direction, y v'. The correlation does not show that a direction steers the destination; see `bridge steer`.

    Args:
        rows: Held-out pairs, and the bridge's map.
        vectors: Directions by name, (d_src,) or (k, d_src).

    Returns:
        By name `r`, the mean Pearson correlation over its rows, `low` and `high` of its 95% jackknife interval over
        documents, `n` rows, and, if there is a control, `mispaired`: the same for directions moved by the control.
    """
    found = {name: _correlated(rows, some, rows.fitted.direction(some)) for name, some in vectors.items()}
    control = rows.mispaired()
    if control is not None:
        for name, some in vectors.items():
            found[name][MISPAIRED] = _correlated(rows, some, control.forward.direction(some))
    return found


def _correlated(rows: HeldOutRows, given: NDArray[np.floating], moved: NDArray[np.floating]) -> dict[str, Any]:
    here, there = (np.atleast_2d(some).astype(np.float64).T for some in (given, moved))
    sums = np.zeros((5, rows.n_documents, here.shape[1]))
    counts = np.zeros(rows.n_documents)
    mean = rows.means()
    for block in rows:
        # Subtracting the means of all rows limits rounding errors if a stream's mean is far longer than its spread.
        s, t = (block.x - mean["x"]) @ here, (block.y - mean["y"]) @ there
        for total, values in zip(sums, (s, t, s * s, t * t, s * t), strict=True):
            np.add.at(total, block.document, values)
        counts += np.bincount(block.document, minlength=rows.n_documents)
    total, n = sums.sum(1), counts.sum()
    value = _mean_r(total, n)
    used = np.flatnonzero(counts)
    left_out = np.array([_mean_r(total - sums[:, one], n - counts[one]) for one in used])
    low, high = jackknife_interval(value, left_out) if len(used) > 1 else (np.nan, np.nan)
    return {"r": finite(value), "low": finite(low), "high": finite(high), "n": int(n)}


def _mean_r(sums: Array, n: float) -> float:
    """Return the mean correlation from sums of s, t, s^2, t^2 and s t, each (k,); NaN for a constant projection."""
    s, t, ss, tt, st = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (st - s * t / n) / np.sqrt((ss - s * s / n) * (tt - t * t / n))
    return float(np.mean(r))
