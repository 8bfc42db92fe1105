"""The affine map, which every linear one fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.maps.contract import FittedMap, Map
from bridge.maps.training_data import Array


class LinearMap(Map):
    """A map type whose fitted map is affine."""

    @final
    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> FittedMap:
        """Rebuild an `AffineMap`."""
        if set(arrays) != {"weight", "mean_src", "mean_dst"}:
            raise MapError(f"An affine map needs weight, mean_src and mean_dst, not {', '.join(sorted(arrays))}.")
        return AffineMap(arrays["weight"], arrays["mean_src"], arrays["mean_dst"])


@final
class AffineMap(FittedMap):
    """y^ = (x - mean_src) weight + mean_dst; a direction v goes to v weight.

    Args:
        weight: Shape (d_src, d_dst), float64.
        mean_src: Training mean of the source rows, shape (d_src,), float64.
        mean_dst: Training mean of the destination rows, shape (d_dst,), float64.
        chosen: Values that fitting chose, as scalars (`penalty`, `rank`, `scale`).

    Raises:
        MapError: If the shapes do not match, or a value is NaN or infinite.
    """

    def __init__(
        self, weight: Array, mean_src: Array, mean_dst: Array, chosen: Mapping[str, float] | None = None
    ) -> None:
        if weight.shape != (*mean_src.shape, *mean_dst.shape) or weight.ndim != 2:
            raise MapError(
                f"A weight of shape {weight.shape} does not match means of {mean_src.shape} and {mean_dst.shape}."
            )
        if not all(np.isfinite(array).all() for array in (weight, mean_src, mean_dst)):
            raise MapError("The map holds NaN or infinite values.", cause="The rows it was fitted on are degenerate.")
        # Use the memory layout of a loaded map: products with another layout differ in their last bits.
        self.weight, self.mean_src, self.mean_dst = np.ascontiguousarray(weight), mean_src, mean_dst
        self._chosen = dict(chosen or {})

    @property
    def d_src(self) -> int:
        """Width of the source model."""
        return len(self.mean_src)

    @property
    def d_dst(self) -> int:
        """Width of the destination model."""
        return len(self.mean_dst)

    def __call__(self, x: NDArray[np.floating]) -> Array:
        """Move points, (n, d_src) -> (n, d_dst)."""
        moved: Array = (x - self.mean_src) @ self.weight + self.mean_dst
        return moved

    def direction(self, v: NDArray[np.floating]) -> Array:
        """Move directions, (n, d_src) -> (n, d_dst)."""
        moved: Array = v.astype(np.float64) @ self.weight
        return moved

    def inverse(self) -> AffineMap:
        """Return the pseudo-inverse, which is the exact inverse if the map has full rank on the source.

        Raises:
            MapError: If the map loses dimensions: fewer on the destination's side, or a (nearly) singular weight.
        """
        from scipy.linalg import svd

        left, values, right = svd(self.weight, full_matrices=False)
        # Smaller singular values would amplify float32 rounding to the size of the signal.
        lost = self.d_src - int(np.sum(values > 1e-6 * values[0]))
        if lost:
            raise MapError(
                f"This map of shape {self.weight.shape} has no inverse: it loses {lost} of {self.d_src} dimensions.",
                remedy="Fit the map in the other direction instead.",
            )
        return AffineMap((right.T / values) @ left.T, self.mean_dst, self.mean_src)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return weight and means."""
        return {"weight": self.weight, "mean_src": self.mean_src, "mean_dst": self.mean_dst}

    def chosen(self) -> Mapping[str, float]:
        """Return what fitting chose."""
        return self._chosen
