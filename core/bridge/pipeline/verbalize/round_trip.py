"""Reconstruction of activations from their explanations."""

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
    """Reconstruct activations from explanations, with the length of the originals; None without a reconstructor.

    Raises:
        PluginError: If the reconstructor does not return one activation per explanation.
    """
    if not verbalizer.reconstructs:
        return None
    rebuilt = verbalizer.reconstruct([one.text for one in explanations])
    if wrong := fault_of_rows(rebuilt, points.shape):
        raise PluginError(f"The reconstructor of the verbalizer {name} gives {wrong}.")
    # A reconstructor gives directions; the reverse map is affine and needs activations of typical length.
    return with_lengths_of(rebuilt, points).astype(np.float32)


def cosine(x: Float32, y: Float32) -> NDArray[np.float64]:
    """Return the row-wise cosine between (n, d) and (n, d) or (1, d), (n,) float64."""
    return np.asarray((unit_rows(x) * unit_rows(y)).sum(1))
