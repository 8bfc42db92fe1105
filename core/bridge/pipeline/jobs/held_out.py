"""The held-out rows of a bridge that was fitted earlier, for scoring transferred tools."""

from __future__ import annotations

from functools import partial

from bridge.errors import BridgeError, MapError, UsageError
from bridge.maps import FittedMap
from bridge.pairing.rows import PairedRows
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.fit.checks import map_or_raise
from bridge.pipeline.fit.fit import fit_rows
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.plan import Plan, prepare
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.transfer.held_out import HeldOutRows, Mispaired
from bridge.references import Site


def open_held_out(bridge: Bridge, runtime: Runtime) -> HeldOutRows | None:
    """Open the held-out rows of a bridge's fit; a model runs only if its activations are not in the cache.

    Returns:
        The rows; None, with a note of the reason, if models, corpus or the record of the fit are not available.
    """
    try:
        if "options" not in bridge.provenance:
            raise UsageError("the bridge has no record of what it was fitted on.")
        options = make_options(**bridge.provenance["options"])
        plan = prepare(options, runtime)
        src, dst = plan.src.model.single_site(), plan.dst.model.single_site()
        left, right = gather(plan, {"src": [src], "dst": [dst]}, runtime)
        rows = paired_rows(plan, left[src], right[dst])
        control = partial(_mispaired, plan, rows, (src, dst), runtime)
        return HeldOutRows(rows, options.run.seed, bridge.fitted, control)
    except BridgeError as error:  # a bridge is useful even without its models
        runtime.progress.note(f"The transferred tool is NOT scored on held-out activations: {error.what}")
        return None


def _mispaired(plan: Plan, rows: PairedRows, sites: tuple[Site, Site], runtime: Runtime) -> Mispaired | None:
    """Fit the control as `bridge audit` does, on training rows that do not belong together: a bridge keeps none."""
    runtime.progress.note("Fitting the mispaired control.")
    try:
        result = fit_rows(plan, rows, *sites, controls=True, reverse=True)
        return Mispaired(_there(result.floor), _there(result.floor_back))
    except MapError as error:
        runtime.progress.note(f"There is no mispaired control: {error.what}")
        return None


def _there(outcome: FittedMap | MapError | None) -> FittedMap:
    if outcome is None:
        raise MapError("it was not fitted.")
    return map_or_raise(outcome)
