"""Ridge regression with its penalty chosen by cross-validation over documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.hookspecs import hookimpl
from bridge.maps import AffineMap, LinearMap, Map, TrainingData
from bridge.moments import Moments

Array = NDArray[np.float64]
GRID = tuple(float(step) for step in np.logspace(-5, 1, 13))


@final
@dataclass(frozen=True)
class Ridge(LinearMap):
    """W = (X'X + a I)^-1 X'Y on centred rows.

    Attributes:
        penalty: The penalty a, absolute (as scikit-learn's `alpha`); None to choose it by cross-validation from
            13 values, 1e-5 to 10 times the mean eigenvalue of X'X, by mean EV over the folds.

    Source: Hoerl and Kennard, "Ridge regression" (1970); one eigendecomposition serves the whole grid (Hastie,
    Tibshirani and Friedman, The Elements of Statistical Learning, section 3.4.1).
    """

    penalty: float | None = None

    name = "ridge"
    summary = "Penalised least squares, penalty by cross-validation over documents: the default."

    def fit(self, data: TrainingData) -> AffineMap:
        """Choose the penalty, then fit on all training rows."""
        if self.penalty is not None and not self.penalty > 0:
            raise MapError(
                f"A ridge penalty of {self.penalty:g} is impossible.", remedy="Give one above 0, or use ols."
            )
        moments = data.moments
        penalty = self.penalty if self.penalty is not None else best_penalty(data, penalty_grid(moments))
        path = RidgePath(moments)
        return AffineMap(path.weight(penalty), moments.mean_x, moments.mean_y, {"penalty": penalty})


@final
class RidgePath:
    """Ridge solutions for every penalty, after one eigendecomposition of X'X.

    Args:
        moments: Of the rows to fit on.
    """

    def __init__(self, moments: Moments) -> None:
        from scipy.linalg import eigh

        self.moments = moments
        values, self.vectors = eigh(moments.xx, driver="evd")
        self.values = np.maximum(values, 0.0)
        self.projected = self.vectors.T @ moments.xy

    def weight(self, penalty: float) -> Array:
        """Return W, (d_src, d_dst), for one penalty."""
        weight: Array = self.vectors @ (self.projected / (self.values + penalty)[:, None])
        return weight

    def explained_variance(self, held_out: Moments, penalties: tuple[float, ...]) -> Array:
        """Return the EV on held-out rows for every penalty, (penalties,).

        In the eigenbasis a penalty only scales the rows of W by s = 1 / (values + penalty), so the residual is a
        quadratic form in s: no product of width d_dst is repeated along the grid.
        """
        quadratic = (self.vectors.T @ held_out.xx @ self.vectors) * (self.projected @ self.projected.T)
        linear = np.sum(self.projected * (self.vectors.T @ held_out.xy), axis=1)
        shift_x = self.vectors.T @ (held_out.mean_x - self.moments.mean_x)
        shift_y = held_out.mean_y - self.moments.mean_y
        scatter = np.trace(held_out.yy)
        scores = []
        for penalty in penalties:
            s = 1 / (self.values + penalty)
            offset = shift_y - (shift_x * s) @ self.projected
            residual = scatter + s @ quadratic @ s - 2 * s @ linear + held_out.n * offset @ offset
            scores.append(1 - residual / scatter)
        return np.array(scores)


def penalty_grid(moments: Moments) -> tuple[float, ...]:
    """Return the grid in units of the mean eigenvalue of X'X, so that it fits any model's scale and any row count."""
    unit = float(np.trace(moments.xx)) / len(moments.mean_x)
    return tuple(step * unit for step in GRID)


def best_penalty(data: TrainingData, penalties: tuple[float, ...]) -> float:
    """Choose the penalty with the best mean EV over folds, each fold scored by the map fitted on the others.

    Raises:
        MapError: If there are fewer than two folds.
    """
    if len(data.folds) < 2:
        raise MapError("Choosing a penalty by cross-validation needs at least two folds.", remedy="Set ridge:penalty=.")
    scores = sum(
        RidgePath(data.without_fold(index)).explained_variance(fold, penalties)
        for index, fold in enumerate(data.folds)
        if np.trace(fold.yy) > 0  # a fold of one row, or none, has no variance to explain
    )
    return penalties[int(np.argmax(scores))]


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Offer ridge."""
    register(Ridge)
