"""A random rotation: a control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from bridge.hookspecs import hookimpl
from bridge.maps import AffineMap, LinearMap, Map, TrainingData


@final
@dataclass(frozen=True)
class RandomOrthogonal(LinearMap):
    """y^ = (x - m_s) c Q + m_t with a Haar-random (semi-)orthogonal Q, and c that gives y^ the variance of y.

    Attributes:
        seed: Seed of the draw.

    Source: Mezzadri, "How to generate random matrices from the classical compact groups" (2007), section 5.
    """

    seed: int = 0

    name = "random_orthogonal"
    summary = "A Haar-random rotation between centred, equally scaled streams: a control."
    control_arm = "random_map"

    def fit(self, data: TrainingData) -> AffineMap:
        """Draw the rotation; only means and total variances are fitted."""
        from scipy.stats import ortho_group

        moments = data.moments
        larger = max(data.d_src, data.d_dst)
        rotation = ortho_group.rvs(larger, random_state=np.random.default_rng(self.seed))
        weight = rotation[: data.d_src, : data.d_dst]
        spread = np.sum(weight * (moments.xx @ weight))
        scale = float(np.sqrt(np.trace(moments.yy) / spread))
        return AffineMap(scale * weight, moments.mean_x, moments.mean_y, {"scale": scale})


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Register the random control."""
    register(RandomOrthogonal)
