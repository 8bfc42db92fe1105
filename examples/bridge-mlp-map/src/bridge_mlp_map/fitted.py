"""The fitted map: arrays, and numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError
from bridge.maps import Array, FittedMap

DIMENSIONS = {
    "mean_src": ("d_src",),
    "mean_dst": ("d_dst",),
    "weight": ("d_src", "d_dst"),
    "inward": ("d_src", "hidden"),
    "bias": ("hidden",),
    "outward": ("hidden", "d_dst"),
    "offset": ("d_dst",),
    "slope": ("hidden",),
}
"""Every array, float64, and what its shape means."""


@final
class FittedMLP(FittedMap):
    """y^ = (x - mean_src) weight + mean_dst + silu((x - mean_src) inward + bias) outward + offset.

    A direction v goes to v J, J the *mean Jacobian*: weight + inward diag(slope) outward, `slope` being the mean
    derivative of each hidden unit over the rows of the validation documents. So `direction` says what a small step
    along v does to a mapped activation, on average over activations. What it does at one activation differs from that,
    and a long step bends: to steer by far, map both ends and take the difference.

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
        from scipy.special import expit

        a = self._arrays
        centred = x - a["mean_src"]
        before = centred @ a["inward"] + a["bias"]
        moved: Array = centred @ a["weight"] + (before * expit(before)) @ a["outward"] + (a["mean_dst"] + a["offset"])
        return moved

    def direction(self, v: NDArray[np.floating]) -> Array:
        """Move directions by the mean Jacobian, (n, d_src) -> (n, d_dst)."""
        a, v = self._arrays, v.astype(np.float64)
        moved: Array = v @ a["weight"] + (v @ a["inward"] * a["slope"]) @ a["outward"]
        return moved

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays."""
        return dict(self._arrays)

    def chosen(self) -> Mapping[str, float]:
        """Return the penalty, the epoch, and the EV on the validation documents, with and without the network."""
        return self._chosen
