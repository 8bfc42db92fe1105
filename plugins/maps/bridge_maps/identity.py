"""The identity map: the source's tools on the destination's activations without a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from bridge.hookspecs import hookimpl
from bridge.maps import AffineMap, LinearMap, Map, TrainingData, need_equal_widths, refuse_unequal


@final
@dataclass(frozen=True)
class Identity(LinearMap):
    """y^ = x, means included; needs equal widths."""

    name = "identity"
    summary = "No map (equal widths only): a control."
    control_arm = "raw"

    def check_widths(self, d_src: int, d_dst: int) -> None:
        """Refuse different widths."""
        refuse_unequal(d_src, d_dst, self.name)

    def fit(self, data: TrainingData) -> AffineMap:
        """Return the identity."""
        need_equal_widths(data, self.name)
        zeros = np.zeros(data.d_src)
        return AffineMap(np.eye(data.d_src), zeros, zeros)


@hookimpl
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Register the identity."""
    register(Identity)
