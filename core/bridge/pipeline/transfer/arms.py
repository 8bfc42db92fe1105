"""Directions moved by every arm's map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bridge.geometry import with_lengths_of
from bridge.maps import FittedMap
from bridge.scorers import MAPPED, RANDOM_DIRECTION

Vectors = NDArray[np.float32]


def carry_directions(vectors: Vectors, arms: Mapping[str, FittedMap], seed: int) -> dict[str, Vectors]:
    """Move directions by every arm's map, and as many random directions by the fitted map.

    Each direction is scaled to the length of the corresponding mapped direction, so that arms differ in direction only.

    Args:
        vectors: (n, d_src) float32.
        arms: The maps.
        seed: Seed of the random directions.

    Returns:
        Directions by arm, (n, d_dst) float32.
    """
    moved = {arm: fitted.direction(vectors) for arm, fitted in arms.items()}
    random = np.random.default_rng(seed).normal(size=vectors.shape)
    moved[RANDOM_DIRECTION] = arms[MAPPED].direction(random)
    return {arm: with_lengths_of(some, moved[MAPPED]).astype(np.float32) for arm, some in moved.items()}
