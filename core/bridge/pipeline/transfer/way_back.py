"""The reverse map of a bridge for transferred tools: fitted, because an inverse amplifies shrunk directions."""

from __future__ import annotations

import numpy as np

from bridge.errors import MapError, UsageError
from bridge.maps import AffineMap, FittedMap
from bridge.pipeline.fit.bridge import Bridge

GIVEN, FITTED, INVERSE = "given", "fitted", "inverse"
LENGTHS_KEPT = 1e-3
"""Tolerance of the singular values of a rotation around 1."""


def reverse_map(bridge: Bridge, back: Bridge | None) -> tuple[AffineMap, str]:
    """Return the map from the bridge's destination to its source, for transferred tools.

    Args:
        bridge: The bridge.
        back: A bridge fitted from destination to source; default: the reverse map saved with the bridge or, if there is
            none and the map keeps lengths, the inverse.

    Returns:
        The map, and its kind: `given`, `fitted` or `inverse`.

    Raises:
        UsageError: If `back` is between other models.
        MapError: If the reverse map is not affine, or there is none and the map changes lengths.
    """
    if back is not None:
        if (back.src, back.dst) != (bridge.dst, bridge.src):
            raise UsageError(
                f"The reverse bridge goes from {back.src} to {back.dst}, not from {bridge.dst} to {bridge.src}.",
                remedy="Fit it with --src and --dst exchanged.",
            )
        return affine(back.fitted, bridge), GIVEN
    if bridge.fitted_back is not None:
        return affine(bridge.fitted_back, bridge), FITTED
    fitted = affine(bridge.fitted, bridge)
    if keeps_lengths(fitted):
        return fitted.inverse(), INVERSE
    raise MapError(
        f"This bridge has no reverse map, and the map {bridge.map} changes lengths: its inverse would amplify the "
        "directions that the map shrinks, and transferred tools would read noise.",
        cause="It was fitted by an earlier version, which saved no reverse map.",
        remedy="Fit it again (bridge fit FOLDER/config.toml --out NEW), which is fast with cached activations; "
        "or give --back, a bridge fitted with --src and --dst exchanged.",
    )


def keeps_lengths(fitted: AffineMap) -> bool:
    """Tell whether a map is a rotation into equally many or more dimensions, whose inverse is its transpose."""
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
