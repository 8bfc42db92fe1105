"""Fitting with a plugin's map, and checking its result."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from bridge.errors import BridgeError, MapError
from bridge.maps import FittedMap, Map, TrainingData
from bridge.plugins.checks import fault_of_rows


def fit_each(kind: Map, several: Sequence[TrainingData]) -> list[FittedMap | MapError]:
    """Fit on several sets of rows together, or one by one if that fails, so that a failure affects only its own set.

    Returns:
        The fitted maps of `checked_fit`, or its errors.
    """
    if len(several) > 1:
        with contextlib.suppress(Exception):
            return [_checked(kind, fitted, data) for fitted, data in zip(kind.fit_each(several), several, strict=True)]
    outcomes: list[FittedMap | MapError] = []
    for data in several:
        try:
            outcomes.append(checked_fit(kind, data))
        except MapError as error:
            outcomes.append(error)
    return outcomes


def map_or_raise(outcome: FittedMap | MapError) -> FittedMap:
    """Return a map of `fit_each`, or raise its error.

    Raises:
        MapError: If the map could not be fitted.
    """
    if isinstance(outcome, MapError):
        raise outcome
    return outcome


def checked_fit(kind: Map, data: TrainingData) -> FittedMap:
    """Fit, and check the plugin's result.

    Raises:
        MapError: If the result is not a fitted map of these widths, or gives NaN at the training mean.
    """
    try:
        fitted = kind.fit(data)
    except BridgeError:
        raise
    except Exception as error:
        raise MapError(
            f"The map {kind.name} failed to fit ({type(error).__name__}: {error}).",
            cause="The plugin is broken, or does not support these rows.",
            remedy="Run the command again with --debug for the traceback, or choose another map.",
        ) from error
    return _checked(kind, fitted, data)


def _checked(kind: Map, fitted: FittedMap, data: TrainingData) -> FittedMap:
    if not isinstance(fitted, FittedMap) or (fitted.d_src, fitted.d_dst) != (data.d_src, data.d_dst):
        raise MapError(
            f"The map {kind.name} returned {type(fitted).__name__}, not a fitted map {data.d_src} -> {data.d_dst}.",
            cause="The plugin is broken.",
            remedy="Run bridge.testing.check_map on it, or choose another map.",
        )
    # The mean, and a row at a typical distance from the mean.
    spread = np.sqrt(np.diag(data.moments.xx) / max(data.moments.n, 1))
    rows = np.stack([data.moments.mean_x, data.moments.mean_x + spread]).astype(np.float32)
    for move, what in ((fitted, "points"), (fitted.direction, "directions")):
        try:
            wrong = fault_of_rows(move(rows), (2, data.d_dst))
        except Exception as error:
            wrong = f"{type(error).__name__} ({error})"
        if wrong:
            raise MapError(
                f"The map {kind.name} gives {wrong} for {what} of shape {rows.shape}, not finite {(2, data.d_dst)}.",
                cause="The plugin is broken.",
                remedy="Run bridge.testing.check_map on it, or choose another map.",
            )
    return fitted
