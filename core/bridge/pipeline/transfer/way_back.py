"""The way back through a bridge, by which carried tools read: fitted; no inverse that blows up what was shrunk."""

from __future__ import annotations

import numpy as np

from bridge.errors import MapError, UsageError
from bridge.maps import AffineMap, FittedMap
from bridge.pipeline.fit.bridge import Bridge

GIVEN, FITTED, INVERSE = "given", "fitted", "inverse"
LENGTHS_KEPT = 1e-3
"""How far the singular values of a rotation may be from 1."""


def reverse_map(bridge: Bridge, back: Bridge | None) -> tuple[AffineMap, str]:
    """Return the map from the bridge's destination to its source, through which carried tools read.

    Args:
        bridge: The bridge forward.
        back: A bridge fitted the other way; by default the way back that the bridge itself keeps. Of a bridge that
            keeps none, the inverse, if the map changes no lengths.

    Returns:
        The map, and which it is: `given`, `fitted` or `inverse`.

    Raises:
        UsageError: If `back` is between other models.
        MapError: If the map back is not affine, or there is none and the map changes lengths.
    """
    if back is not None:
        if (back.src, back.dst) != (bridge.dst, bridge.src):
            raise UsageError(
                f"The bridge back goes from {back.src} to {back.dst}, not from {bridge.dst} to {bridge.src}.",
                remedy="Fit it with --src and --dst exchanged.",
            )
        return affine(back.fitted, bridge), GIVEN
    if bridge.fitted_back is not None:
        return affine(bridge.fitted_back, bridge), FITTED
    fitted = affine(bridge.fitted, bridge)
    if keeps_lengths(fitted):
        return fitted.inverse(), INVERSE
    raise MapError(
        f"This bridge has no way back, and the map {bridge.map} changes lengths: its inverse would blow up what the "
        "map has shrunk, and what is carried through it would read noise.",
        cause="It was fitted by an earlier version, which kept none.",
        remedy="Fit it again (bridge fit FOLDER/config.toml --out NEW), which is quick where activations are stored; "
        "or give --back, a bridge fitted with --src and --dst exchanged.",
    )


def keeps_lengths(fitted: AffineMap) -> bool:
    """Tell whether a map is a rotation into as many dimensions or more: its inverse is then its transpose."""
    if fitted.d_src > fitted.d_dst:
        return False
    values = np.linalg.svd(fitted.weight, compute_uv=False)
    return bool(np.abs(values - 1).max() < LENGTHS_KEPT)


def affine(fitted: FittedMap, bridge: Bridge) -> AffineMap:
    """Return a map that can be folded into weights.

    Raises:
        MapError: If it is not affine.
    """
    if not isinstance(fitted, AffineMap):
        raise MapError(
            f"The map {bridge.map} is not affine, so it cannot be folded into weights.",
            remedy="Fit the bridge with --map procrustes or --map ridge.",
        )
    return fitted
