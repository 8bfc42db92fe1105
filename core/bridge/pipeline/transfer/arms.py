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

    Every arm's directions are given the length of the mapped ones, one by one: arms differ in direction alone.

    Args:
        vectors: (n, d_src) float32.
        arms: The maps.
        seed: Of the random directions.

    Returns:
        By arm (n, d_dst) float32.
    """
    moved = {arm: fitted.direction(vectors) for arm, fitted in arms.items()}
    random = np.random.default_rng(seed).normal(size=vectors.shape)
    moved[RANDOM_DIRECTION] = arms[MAPPED].direction(random)
    return {arm: with_lengths_of(some, moved[MAPPED]).astype(np.float32) for arm, some in moved.items()}
