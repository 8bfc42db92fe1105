"""Kernel ridge regression on landmarks: a map that is not linear, and still a closed form of moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.hookspecs import hookimpl
from bridge.maps import Array, Map, TrainingData
from bridge.moments import Moments, explained_variance, total
from bridge_kernel_map.fitted import FittedKernel

bridge_api = "1.1"

PENALTIES = tuple(10.0**step for step in range(-7, 2))
"""In units of the features' mean eigenvalue."""


@final
@dataclass(frozen=True)
class Kernel(Map):
    """y^ = z W + k(z, Z) C + c, z the standardised source row: ridge on z and on its kernel with landmarks Z.

    Landmarks are training rows. Their Nystroem features are a linear regression's inputs like any others, so one pass
    over the stored pairs sums the moments of (features, y) by fold, and the rest is ridge: the penalty is chosen by
    cross-validation over documents.

    Attributes:
        landmarks: How many training rows to compare with.
        width: Of the kernel exp(-||z - z'||^2 / (width * median squared distance of the landmarks)).
        seed: Of the choice of landmarks.

    Source: Williams and Seeger, "Using the Nystroem method to speed up kernel machines" (2001); scikit-learn's
    `Nystroem`.
    """

    landmarks: int = 1024
    width: float = 1.0
    seed: int = 0

    name = "kernel"
    summary = "Kernel ridge regression on landmarks: is there more than a linear map can say? In closed form."

    def fit(self, data: TrainingData) -> FittedKernel:
        """Fit in two passes: one for the landmarks, one for the moments.

        Raises:
            MapError: If an option is impossible, or there are fewer than two folds.
        """
        from sklearn.kernel_approximation import Nystroem

        if self.landmarks < 2 or not self.width > 0:
            raise MapError("A kernel map needs at least two landmarks and a width above 0.")
        if len(data.folds) < 2:
            raise MapError("Choosing a penalty by cross-validation needs at least two folds.")
        moments = data.moments
        scale = _scale(moments)
        landmarks = (_draw(data, self.landmarks, self.seed) - moments.mean_x) / scale
        gamma = 1 / (self.width * _median_distance(landmarks))
        kernel = Nystroem(kernel="rbf", gamma=gamma, n_components=len(landmarks), random_state=0).fit(landmarks)

        def features(x: NDArray[np.floating]) -> Array:
            z = (x - moments.mean_x) / scale
            return np.hstack([z, kernel.transform(z)])

        folds = []
        for index in range(len(data.folds)):
            parts = (Moments.of(features(x), y) for x, y in data.blocks([index]))
            folds.append(total([Moments.empty(data.d_src + len(landmarks), data.d_dst), *parts]))
        penalty, ev = _best_penalty(folds)
        whole = total(folds)
        weight = _ridge(whole, penalty)
        arrays = {
            "mean_src": moments.mean_x,
            "scale": scale,
            "landmarks": kernel.components_,
            "gamma": np.array(gamma),
            "weight": weight[: data.d_src],
            "readout": kernel.normalization_.T @ weight[data.d_src :],
            "offset": whole.mean_y - whole.mean_x @ weight,
        }
        return FittedKernel(arrays, {"penalty": penalty, "cross_validated_ev": ev})

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> FittedKernel:
        """Rebuild the map."""
        return FittedKernel(arrays)


def _scale(moments: Moments) -> Array:
    """Return what gives every coordinate the same variance, and rows a mean squared length of 1, (d_src,)."""
    variance = np.diag(moments.xx) / moments.n
    if not variance.max() > 0:
        raise MapError("The source's rows are all alike, so there is nothing to compare.")
    scale: Array = np.sqrt(np.maximum(variance, 1e-12 * variance.max()) * len(variance))
    return scale


def _draw(data: TrainingData, count: int, seed: int) -> Array:
    """Draw training rows without repetition, in one pass, (count, d_src) or fewer where there are not so many."""
    rows = data.moments.n
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(count, rows), replace=False))
    drawn, start = [], 0
    for x, _ in data.blocks():
        drawn.append(x[chosen[(chosen >= start) & (chosen < start + len(x))] - start])
        start += len(x)
    return np.concatenate(drawn).astype(np.float64)


def _median_distance(rows: Array) -> float:
    """Return the median squared distance between two of the rows."""
    from sklearn.metrics.pairwise import euclidean_distances

    distances = euclidean_distances(rows, squared=True)
    return float(np.median(distances[np.triu_indices(len(rows), 1)]))


def _best_penalty(folds: list[Moments]) -> tuple[float, float]:
    """Return the penalty with the best mean EV, each fold scored by ridge on the others, and that EV."""
    scores = np.zeros(len(PENALTIES))
    scored = [index for index, fold in enumerate(folds) if np.trace(fold.yy) > 0]
    for index in scored:
        others = total(fold for i, fold in enumerate(folds) if i != index)
        for i, penalty in enumerate(PENALTIES):
            scores[i] += explained_variance(folds[index], _ridge(others, penalty), others.mean_x, others.mean_y)
    best = int(np.argmax(scores))
    return PENALTIES[best], float(scores[best] / len(scored))


def _ridge(moments: Moments, penalty: float) -> Array:
    width = len(moments.mean_x)
    loaded = moments.xx + penalty * float(np.trace(moments.xx)) / width * np.eye(width)
    weight: Array = np.linalg.solve(loaded, moments.xy).astype(np.float64)
    return weight


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Offer the map."""
    register(Kernel)
