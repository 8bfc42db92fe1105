"""The initialisation of a dictionary's training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.geometry import unit_rows


def initial_directions(d_model: int, n_features: int, seed: int) -> NDArray[np.float32]:
    """Return the initial decoder directions of a dictionary with this initialisation seed.

    Our trainer records the seed as `Origin.init_seed`, so that the untrained dictionary, a control for matching
    decoders, can be reproduced.

    Args:
        d_model: Width of the residual stream.
        n_features: Number of features.
        seed: The initialisation seed.

    Returns:
        Gaussian rows of unit length, uniform on the sphere: (features, d_model) float32.
    """
    rows = np.random.default_rng(seed).normal(size=(n_features, d_model))
    return unit_rows(rows).astype(np.float32)
