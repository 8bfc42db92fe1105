"""The controls of a fitted map: the same map type on mispaired rows, and every control map."""

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
    """Fit the controls of a map: the same map type on mispaired rows, and every installed control map.

    Args:
        result: The fitted map.
        seed: Seed of random controls.
        runtime: Plugins and progress.

    Returns:
        The maps by arm, `mapped` first. A control that does not support these rows or widths is left out, with a note.
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
    """Return the reverse map of every arm, which a transferred dictionary needs to read the destination.

    The reverse maps of the requested map and of its mispaired control are fitted on the same rows: the inverse of a map
    that shrinks directions (ridge) would amplify noise. Control maps that are not fitted on rows are inverted.

    Raises:
        MapError: If the requested map has no reverse map.
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
