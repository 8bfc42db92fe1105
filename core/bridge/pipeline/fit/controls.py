"""The controls of a fitted map: the same map on mispaired rows, and every map that is a control arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import partial

from bridge.errors import MapError
from bridge.maps import FittedMap, Map
from bridge.pipeline.fit.checks import checked_fit, map_or_raise
from bridge.pipeline.fit.fit import Fit
from bridge.pipeline.plan.runtime import Runtime
from bridge.scorers import MAPPED, MISPAIRED


def fit_arms(result: Fit, seed: int, runtime: Runtime) -> dict[str, FittedMap]:
    """Fit the controls beside a map: itself on mispaired rows, and every installed map that is a control arm.

    Args:
        result: The fitted map.
        seed: Of controls that are random.
        runtime: Plugins and progress.

    Returns:
        The maps by arm, `mapped` first. A control that these rows or widths do not allow is left out, with a note.
    """

    def on_mispaired_rows() -> FittedMap:
        assert result.floor, "fitted without controls"
        return map_or_raise(result.floor)

    def as_control(control: type[Map]) -> FittedMap:
        seeded = {"seed": seed} if "seed" in {field.name for field in fields(control)} else {}
        return checked_fit(control(**seeded), result.training)

    makers = {MISPAIRED: on_mispaired_rows} | {
        control.control_arm: partial(as_control, control)
        for control in runtime.registry.maps.values()
        if control.control_arm
    }
    arms = {MAPPED: result.bridge.fitted}
    for arm, make in makers.items():
        try:
            arms[arm] = make()
        except MapError as error:
            runtime.progress.note(f"No {arm} control: {error.what}")
    return arms


def fit_back(result: Fit, arms: Mapping[str, FittedMap], runtime: Runtime) -> dict[str, FittedMap]:
    """Return for every arm the map from the destination to the source, through which a carried dictionary reads.

    The map that was asked for, and its mispaired control, were fitted on the same rows the other way round: the
    inverse of a map that shrinks what it cannot predict (ridge) would blow up noise. A control that is no fit of the
    rows is inverted.

    Raises:
        MapError: If the map has no way back.
    """
    both = {MAPPED: result.back, MISPAIRED: result.floor_back}
    refits = {arm: outcome for arm, outcome in both.items() if outcome is not None}
    back = {}
    for arm, there in arms.items():
        try:
            back[arm] = map_or_raise(refits[arm]) if arm in refits else there.inverse()
        except MapError as error:
            if arm == MAPPED:
                raise
            runtime.progress.note(f"No {arm} control of the dictionary: {error.what}")
    return back
