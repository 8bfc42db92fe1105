"""The best rotation between two residual streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from bridge.hookspecs import hookimpl
from bridge.maps import AffineMap, LinearMap, Map, TrainingData, need_equal_widths, refuse_unequal


@final
@dataclass(frozen=True)
class Procrustes(LinearMap):
    """W = U V' from the SVD X'Y = U S V' of centred rows: orthogonal, semi-orthogonal where widths differ.

    Attributes:
        scaled: Multiply by the least-squares scale, tr S / ||X W||^2, which is tr S / ||X||^2 if d_src <= d_dst.
        rotation: Allow only rotations (determinant +1), no reflections; needs equal widths.

    Source: Schönemann, "A generalized solution of the orthogonal Procrustes problem" (1966); for rotations Kabsch,
    "A solution for the best rotation to relate two sets of vectors" (1976).
    """

    scaled: bool = True
    rotation: bool = False

    name = "procrustes"
    summary = "The best rotation and scale: few degrees of freedom, keeps angles."

    def check_widths(self, d_src: int, d_dst: int) -> None:
        """Refuse different widths if only rotations are allowed."""
        if self.rotation:
            refuse_unequal(d_src, d_dst, f"{self.name}:rotation=true")

    def fit(self, data: TrainingData) -> AffineMap:
        """Fit by one singular value decomposition."""
        from scipy.linalg import svd

        if self.rotation:
            need_equal_widths(data, f"{self.name}:rotation=true")
        moments = data.moments
        left, singular, right = svd(moments.xy, full_matrices=False)
        if self.rotation and np.linalg.det(left @ right) < 0:
            left[:, -1] *= -1
            singular[-1] *= -1
        weight = left @ right
        spread = float(np.sum(weight * (moments.xx @ weight)))
        scale = float(singular.sum()) / spread if self.scaled else 1.0
        return AffineMap(scale * weight, moments.mean_x, moments.mean_y, {"scale": scale})


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Offer Procrustes."""
    register(Procrustes)
