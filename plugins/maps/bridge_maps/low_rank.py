"""Reduced-rank regression: a ridge map through a bottleneck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.hookspecs import hookimpl
from bridge.maps import AffineMap, LinearMap, Map, TrainingData
from bridge.moments import Moments, explained_variance
from bridge_maps.ridge import best_penalties, ridge_weight

Array = NDArray[np.float64]


@final
@dataclass(frozen=True)
class LowRank(LinearMap):
    """W_r = W V_r V_r', with W the ridge map and V_r the top r eigenvectors of W' (X'X + a I) W = W' X'Y.

    This map has the smallest penalised error of all maps of rank r; for a -> 0, V_r are the fitted values' principal
    axes.

    Attributes:
        rank: The rank r; None to choose it by cross-validation from the powers of two.

    Source: Izenman, "Reduced-rank regression for the multivariate linear model" (1975), with the ridge fit of Mukherjee
    and Zhu, "Reduced rank ridge regression and its kernel extensions" (2011), section 2.
    """

    rank: int | None = None

    name = "low_rank"
    summary = "Ridge through a bottleneck: shows how many dimensions are shared."

    def fit(self, data: TrainingData) -> AffineMap:
        """Choose penalty and rank by cross-validation, then fit on all training rows."""
        full = min(data.d_src, data.d_dst)
        if self.rank is not None and not 1 <= self.rank <= full:
            raise MapError(f"The rank {self.rank} is invalid: for these models it must be from 1 to {full}.")
        (penalty,) = best_penalties([data])
        rank = self.rank or _best_rank(data, penalty, [2**k for k in range(full.bit_length()) if 2**k < full] + [full])
        moments = data.moments
        weight, axes = _ridge_and_axes(moments, penalty)
        kept = axes[:, :rank]
        return AffineMap(
            weight @ kept @ kept.T, moments.mean_x, moments.mean_y, {"penalty": penalty, "rank": float(rank)}
        )


def _best_rank(data: TrainingData, penalty: float, ranks: list[int]) -> int:
    scores = np.zeros(len(ranks))
    for index, fold in enumerate(data.folds):
        if np.trace(fold.yy) == 0:  # as in `best_penalties`
            continue
        training = data.without_fold(index)
        weight, axes = _ridge_and_axes(training, penalty)
        for i, rank in enumerate(ranks):
            kept = axes[:, :rank]
            scores[i] += explained_variance(fold, weight @ kept @ kept.T, training.mean_x, training.mean_y)
    return ranks[int(np.argmax(scores))]


def _ridge_and_axes(moments: Moments, penalty: float) -> tuple[Array, Array]:
    from scipy.linalg import eigh

    weight = ridge_weight(moments, penalty)
    _, axes = eigh(weight.T @ moments.xy)
    return weight, axes[:, ::-1]


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Register reduced-rank regression."""
    register(LowRank)
