"""Ridge regression with its penalty chosen by cross-validation over documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.hookspecs import hookimpl
from bridge.maps import AffineMap, FittedMap, LinearMap, Map, TrainingData
from bridge.moments import Moments, pooled, pooled_means
from bridge.products import products_on
from bridge.workers import Workers

Array = NDArray[np.float64]
MEMORY, DECOMPOSED = 1_500_000_000, 6 * 8
"""Memory limit in bytes for folds that are decomposed at once, and bytes per fold for each entry of X'X."""

GRID = tuple(float(step) for step in np.logspace(-5, 1, 13))


@final
@dataclass(frozen=True)
class Ridge(LinearMap):
    """W = (X'X + a I)^-1 X'Y on centred rows.

    Attributes:
        penalty: The penalty a, absolute (as scikit-learn's `alpha`); None to choose it by cross-validation from
            13 values, 1e-5 to 10 times the mean eigenvalue of X'X, by mean EV over the folds.

    Source: Hoerl and Kennard, "Ridge regression" (1970); one eigendecomposition for the whole grid: Hastie, Tibshirani
    and Friedman, The Elements of Statistical Learning, section 3.4.1.
    """

    penalty: float | None = None

    name = "ridge"
    summary = "Penalised least squares, penalty by cross-validation over documents: the default."

    def fit(self, data: TrainingData) -> AffineMap:
        """Choose the penalty, then fit on all training rows."""
        return self._fit([data])[0]

    def fit_each(self, several: Sequence[TrainingData]) -> list[FittedMap]:
        """Fit on several sets of rows; sets with the same source rows share the eigendecompositions."""
        return list(self._fit(several))

    def _fit(self, several: Sequence[TrainingData]) -> list[AffineMap]:
        if self.penalty is None:
            penalties = best_penalties(several)
        elif self.penalty > 0:
            penalties = [self.penalty] * len(several)
        else:
            raise MapError(
                f"The ridge penalty {self.penalty:g} is invalid.", remedy="Give a penalty above 0, or use ols."
            )
        return [
            AffineMap(
                ridge_weight(data.moments, penalty), data.moments.mean_x, data.moments.mean_y, {"penalty": penalty}
            )
            for data, penalty in zip(several, penalties, strict=True)
        ]


def ridge_weight(moments: Moments, penalty: float) -> Array:
    """Return (X'X + a I)^-1 X'Y, (d_src, d_dst)."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    loaded = moments.xx + penalty * np.eye(len(moments.mean_x))
    try:
        weight: Array = cho_solve(cho_factor(loaded, overwrite_a=True), moments.xy)
    except LinAlgError:  # singular: a tiny penalty and directions without variance
        values, vectors = np.linalg.eigh(moments.xx)
        weight = vectors @ (vectors.T @ moments.xy / (np.maximum(values, 0) + penalty)[:, None])
    return weight


def penalty_grid(moments: Moments) -> tuple[float, ...]:
    """Return the grid scaled by the mean eigenvalue of X'X, so that it suits any model's scale and number of rows."""
    unit = float(np.trace(moments.xx)) / len(moments.mean_x)
    return tuple(step * unit for step in GRID)


def best_penalties(several: Sequence[TrainingData]) -> list[float]:
    """Choose for each set the penalty with the best mean EV over folds, each scored by a map fitted on the others.

    Raises:
        MapError: If there are fewer than two folds.
    """
    folds = range(len(several[0].folds))
    if len(folds) < 2:
        raise MapError("Choosing a penalty by cross-validation needs at least two folds.", remedy="Set ridge:penalty=.")
    grids = np.array([penalty_grid(data.moments) for data in several])
    with Workers(max(1, MEMORY // (DECOMPOSED * several[0].d_src ** 2))) as workers:
        scores = np.sum(workers.map(partial(fold_scores, several, grids), folds), axis=0)
    return [float(grid[np.argmax(row)]) for grid, row in zip(grids, scores, strict=True)]


def fold_scores(several: Sequence[TrainingData], grids: Array, index: int) -> Array:
    """Return the EV on one fold minus 1, for every set of rows and penalty: (sets, penalties).

    In the eigenbasis of X'X a penalty only scales the rows of W by s = 1 / (values + penalty), so the residual is a
    quadratic form in s: no product of width d_dst is repeated along the grid.
    """
    scores, basis, decomposed = np.zeros(grids.shape), None, several[0]
    for row, data in enumerate(several):
        held_out, training = data.folds[index], data.others(index)
        scatter = np.trace(held_out.yy)
        if not scatter > 0:  # a fold of one row, or none, has no variance to explain
            continue
        if basis is None or any(a.xx is not b.xx for a, b in zip(data.folds, decomposed.folds, strict=True)):
            basis, decomposed = _decompose(pooled(training, "x", "x"), held_out.xx, data.device), data
        values, vectors, rotated = basis
        scales = 1 / (values + grids[row, :, None])
        projected = vectors.T @ pooled(training, "x", "y")
        linear = np.sum(projected * (vectors.T @ held_out.xy), axis=1)
        quadratic = projected @ projected.T
        quadratic *= rotated
        mean_x, mean_y = pooled_means(training)
        offset = held_out.mean_y - mean_y - (vectors.T @ (held_out.mean_x - mean_x) * scales) @ projected
        residual = np.sum((scales @ quadratic - 2 * linear) * scales, axis=1) + held_out.n * np.sum(offset**2, axis=1)
        scores[row] = -residual / scatter
    return scores


def _decompose(xx: Array, held_out: Array, device: str) -> tuple[Array, Array, Array]:
    """Return eigenvalues and eigenvectors of X'X, and the held-out rows' X'X in their basis."""
    values, vectors, rotated = products_on(device).decomposed(xx, held_out)
    return np.maximum(values, 0), vectors, rotated


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Offer ridge."""
    register(Ridge)
