"""Ordinary least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from bridge.hookspecs import hookimpl
from bridge.maps import AffineMap, LinearMap, Map, TrainingData


@final
@dataclass(frozen=True)
class OLS(LinearMap):
    """W = pinv(X'X) X'Y on centred rows: the least-squares map, of minimum norm if rows do not determine it."""

    name = "ols"
    summary = "Least squares without a penalty: best with very many rows."

    def fit(self, data: TrainingData) -> AffineMap:
        """Fit by one eigendecomposition."""
        from scipy.linalg import pinvh

        moments = data.moments
        return AffineMap(pinvh(moments.xx) @ moments.xy, moments.mean_x, moments.mean_y)


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Register least squares."""
    register(OLS)
