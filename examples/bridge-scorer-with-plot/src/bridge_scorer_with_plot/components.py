"""The destination's principal components, pooled into parts for numbers and into bands for a plot."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.scorers import HeldOutPairs, Rows

Array = NDArray[np.float64]

PARTS = {"ev_leading": 0.5, "ev_middle": 0.9, "ev_tail": 1.0}
"""Up to which share of the variance each part goes."""

BANDS = 24
ALIVE = 1e-9
"""Components of less variance than this share of the largest one's are rounding, and are left out."""


@final
@dataclass(frozen=True)
class Components:
    """Principal components of the destination.

    Attributes:
        basis: Unit columns by falling variance, (d_dst, components).
        mean: Mean of the scored rows, (d_dst,).
        total: Variance of the scored rows, summed over rows and dimensions.
        parts: Which components each part has, by its name.
        bands: The same for the bands of the plot, equally wide on a logarithmic scale.
    """

    basis: Array
    mean: Array
    total: float
    parts: dict[str, slice]
    bands: list[slice]


def is_scored(rows: Rows) -> NDArray[np.bool_]:
    """Tell which rows are scored: those of every second document; the others choose the components."""
    scored: NDArray[np.bool_] = rows.document % 2 == 1
    return scored


def find_components(pairs: HeldOutPairs) -> Components:
    """Go through the rows once, (n, d_dst), without their outliers.

    Raises:
        BridgeError: If there are no rows to choose components, or none to score.
    """
    d = len(pairs.mean_dst)
    counts, sums, squares, second = np.zeros(2), np.zeros((2, d)), 0.0, np.zeros((d, d))
    for rows in pairs.typical():
        scored = is_scored(rows)
        # About the training mean, which is near: sums of squares about zero would lose the digits that matter.
        y = rows.y - pairs.mean_dst
        for side, some in enumerate((y[~scored], y[scored])):
            counts[side] += len(some)
            sums[side] += some.sum(0)
        second += y[~scored].T @ y[~scored]
        squares += float(np.square(y[scored]).sum())
    if not counts.all():
        raise BridgeError(
            "A spectrum needs two held-out documents: one chooses the components, and another is scored.",
            cause="All held-out rows are of one, or of every second one.",
            remedy="Give more documents.",
        )
    (chosen_by, mean), n = sums / counts[:, None], counts[1]
    values, vectors = np.linalg.eigh(second / counts[0] - np.outer(chosen_by, chosen_by))
    alive = int((values > ALIVE * values[-1]).sum())
    values, basis = values[::-1][:alive], vectors[:, ::-1][:, :alive]
    total = squares - n * float(mean @ mean)
    return Components(basis, pairs.mean_dst + mean, total, _parts(values), _bands(alive))


def _parts(values: Array) -> dict[str, slice]:
    """Cut components where their variances, (components,) and falling, add up to the shares; no part is empty."""
    reached = np.cumsum(values) / values.sum()
    parts, start = {}, 0
    for later, (name, share) in enumerate(PARTS.items(), start=1):
        most = len(values) - len(PARTS) + later
        stop = most if later == len(PARTS) else min(max(int((reached < share).sum()) + 1, start + 1), most)
        parts[name] = slice(start, stop)
        start = stop
    return parts


def _bands(count: int) -> list[slice]:
    edges = np.unique(np.geomspace(1, count + 1, BANDS + 1).round().astype(int)) - 1
    return [slice(int(start), int(stop)) for start, stop in itertools.pairwise(edges)]
