"""How much of an activation is reconstructed from its explanation: cosine, and variance explained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.errors import PluginError
from bridge.geometry import unit_rows, with_lengths_of
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
    return with_lengths_of(rebuilt, points).astype(np.float32)


def cosine(x: Float32, y: Float32) -> NDArray[np.float64]:
    """Return row by row the cosine between (n, d) and (n, d) or (1, d), (n,) float64."""
    return np.asarray((unit_rows(x) * unit_rows(y)).sum(1))
