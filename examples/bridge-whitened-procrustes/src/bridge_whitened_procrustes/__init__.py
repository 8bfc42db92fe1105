"""Procrustes between whitened residual streams, coloured with the destination's covariance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.hookspecs import hookimpl
from bridge.maps import AffineMap, LinearMap, Map, TrainingData

Array = NDArray[np.float64]


@final
@dataclass(frozen=True)
class WhitenedProcrustes(LinearMap):
    """W = Cx^-1/2 R Cy^1/2, with R = U V' from the SVD Cx^-1/2 Cxy Cy^-1/2 = U S V'.

    Cx (d_src, d_src) and Cy (d_dst, d_dst) are the covariances of the training rows, Cxy (d_src, d_dst) their
    cross-covariance. R is orthogonal, semi-orthogonal where the widths differ; S are the canonical correlations.

    Attributes:
        floor: Eigenvalues of Cx and Cy below this share of the largest one are raised to it.

    Source: Artetxe, Labaka and Agirre, "Generalizing and improving bilingual word embedding mappings with a multi-step
    framework of linear transformations" (2018), steps 1, 2 and 4; the square roots are the symmetric ones (ZCA) of
    Kessy, Lewin and Strimmer, "Optimal whitening and decorrelation" (2018).
    """

    floor: float = 1e-6

    name = "whitened_procrustes"
    summary = "The best rotation between whitened streams: every direction counts alike, nothing is shrunk."

    def fit(self, data: TrainingData) -> AffineMap:
        """Fit by two eigendecompositions and one singular value decomposition.

        Raises:
            MapError: If the floor is not between 0 and 1, or a model's rows are all alike.
        """
        from scipy.linalg import svd

        if not 0 < self.floor < 1:
            raise MapError(f"A floor of {self.floor:g} is impossible: it is a share between 0 and 1.")
        moments = data.moments
        whiten_src, _ = _roots(moments.xx / moments.n, self.floor)
        whiten_dst, colour_dst = _roots(moments.yy / moments.n, self.floor)
        left, correlations, right = svd(whiten_src @ (moments.xy / moments.n) @ whiten_dst, full_matrices=False)
        weight = whiten_src @ (left @ right) @ colour_dst
        chosen = {"mean_canonical_correlation": float(correlations.mean())}
        return AffineMap(weight, moments.mean_x, moments.mean_y, chosen)


def _roots(covariance: Array, floor: float) -> tuple[Array, Array]:
    """Return C^-1/2 and C^1/2, both (d, d) and symmetric, of a covariance of shape (d, d), eigenvalues clipped."""
    from scipy.linalg import eigh

    values, vectors = eigh(covariance)
    if not values[-1] > 0:
        raise MapError("The rows of one model are all alike, so there is nothing to whiten.")
    roots = np.sqrt(np.maximum(values, floor * values[-1]))
    return (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Offer whitened Procrustes."""
    register(WhitenedProcrustes)
