"""How much of an activation comes back from its explanation: cosine, and variance explained against the mean's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.errors import PluginError
from bridge.plugins.checks import fault_of_rows
from bridge.verbalizers import Explanation, Verbalizer

Float32 = NDArray[np.float32]


def rebuilt_from(
    verbalizer: Verbalizer, explanations: Sequence[Explanation], points: Float32, name: str
) -> Float32 | None:
    """Return what explanations stand for, of the length of what was explained; None without a reconstructor.

    Raises:
        PluginError: If it is not one activation an explanation.
    """
    if not verbalizer.reconstructs:
        return None
    rebuilt = verbalizer.reconstruct([one.text for one in explanations])
    if wrong := fault_of_rows(rebuilt, points.shape):
        raise PluginError(f"The reconstructor of the verbalizer {name} gives {wrong}.")
    # A reconstructor gives directions; the map back is affine, and needs the length that activations have.
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(rebuilt * (lengths / np.linalg.norm(rebuilt, axis=1, keepdims=True)), np.float32)


def cosine(x: Float32, y: Float32) -> NDArray[np.float64]:
    """Return row by row the cosine between (n, d) and (n, d) or (1, d), (n,) float64."""
    return np.asarray((_unit(x) * _unit(y)).sum(1))


def variance_explained(x: Float32, y: Float32, mean: Float32) -> float:
    """Return 1 - sum||u(x) - u(y)||^2 / sum||u(x) - u(mean)||^2, where u brings rows to unit norm.

    Args:
        x: (n, d).
        y: (n, d).
        mean: (1, d).
    """
    error, baseline = (float(np.square(_unit(x) - _unit(other)).sum()) for other in (y, mean))
    return 1 - error / baseline


def _unit(rows: Float32) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))
