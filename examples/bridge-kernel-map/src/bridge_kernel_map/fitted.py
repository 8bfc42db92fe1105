"""The fitted map: landmarks, and what is read from the kernel with them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.maps import Array, FittedMap

DIMENSIONS = {
    "mean_src": ("d_src",),
    "scale": ("d_src",),
    "landmarks": ("landmarks", "d_src"),
    "gamma": (),
    "weight": ("d_src", "d_dst"),
    "readout": ("landmarks", "d_dst"),
    "offset": ("d_dst",),
}
"""Every array, float64, and what its shape means."""


@final
class FittedKernel(FittedMap):
    """y^ = z weight + k(z, landmarks) readout + offset, z = (x - mean_src) / scale, k = exp(-gamma ||z - z'||^2).

    A direction v goes to v J, J the *mean Jacobian* over the landmarks, which are a sample of the training rows:
    `direction` says what a small step along v does to a mapped activation, on average over activations. What it does at
    one activation differs from that, and a long step bends: to steer by far, map both ends and take the difference.

    Args:
        arrays: Those of `DIMENSIONS`.
        chosen: What fitting chose.

    Raises:
        MapError: If one is missing, or their shapes do not belong together.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], chosen: Mapping[str, float] | None = None) -> None:
        if set(arrays) != set(DIMENSIONS):
            raise MapError(f"This map is {', '.join(DIMENSIONS)}, not {', '.join(sorted(arrays))}.")
        sizes: dict[str, int] = {}
        for name, words in DIMENSIONS.items():
            shape = arrays[name].shape
            fits = len(shape) == len(words)
            if not fits or any(sizes.setdefault(word, size) != size for word, size in zip(words, shape, strict=True)):
                raise MapError(f"The array {name} of shape {shape} does not belong to the others.")
        self._arrays = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
        self._sizes, self._chosen = sizes, dict(chosen or {})

    @property
    def d_src(self) -> int:
        """Width of the source model."""
        return self._sizes["d_src"]

    @property
    def d_dst(self) -> int:
        """Width of the destination model."""
        return self._sizes["d_dst"]

    def __call__(self, x: NDArray[np.floating]) -> Array:
        """Move points, (n, d_src) -> (n, d_dst)."""
        a = self._arrays
        z = (x - a["mean_src"]) / a["scale"]
        moved: Array = z @ a["weight"] + self._kernel(z) @ a["readout"] + a["offset"]
        return moved

    def direction(self, v: NDArray[np.floating]) -> Array:
        """Move directions by the mean Jacobian, (n, d_src) -> (n, d_dst)."""
        moved: Array = (v.astype(np.float64) / self._arrays["scale"]) @ self._jacobian
        return moved

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays."""
        return dict(self._arrays)

    def chosen(self) -> Mapping[str, float]:
        """Return the penalty, in units of the features' mean eigenvalue, and its EV in cross-validation."""
        return self._chosen

    def _kernel(self, z: Array) -> Array:
        from sklearn.metrics.pairwise import rbf_kernel

        if not len(z):  # scikit-learn refuses no rows
            return np.zeros((0, self._sizes["landmarks"]))
        kernel: Array = rbf_kernel(z, self._arrays["landmarks"], gamma=float(self._arrays["gamma"]))
        return kernel

    @cached_property
    def _jacobian(self) -> Array:
        """Mean over landmarks z_j of weight + sum_i -2 gamma k_ji (z_j - z_i) readout_i, (d_src, d_dst)."""
        a = self._arrays
        kernel = self._kernel(a["landmarks"])
        pulls = kernel.T @ a["landmarks"] - kernel.sum(0)[:, None] * a["landmarks"]
        jacobian: Array = a["weight"] - 2 * float(a["gamma"]) / len(kernel) * pulls.T @ a["readout"]
        return jacobian
