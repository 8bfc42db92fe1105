"""Where the training of a dictionary starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.geometry import unit_rows


def initial_directions(d_model: int, n_features: int, seed: int) -> NDArray[np.float32]:
    """Return the decoder directions that a dictionary of this initialisation seed starts from.

    Our own trainer records the seed as `Origin.init_seed`, so that the untrained dictionary, which is a control for
    matching decoders, can be made again.

    Args:
        d_model: Width of the residual stream.
        n_features: How many features.
        seed: The initialisation seed.

    Returns:
        Gaussian rows of unit length, uniform on the sphere: (features, d_model) float32.
    """
    rows = np.random.default_rng(seed).normal(size=(n_features, d_model))
    return unit_rows(rows).astype(np.float32)
