"""The held-out rows of a bridge that was fitted earlier, for scoring transferred tools."""

from __future__ import annotations

from bridge.errors import BridgeError, UsageError
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.plan import prepare
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.transfer.held_out import HeldOutRows


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
        return HeldOutRows(paired_rows(plan, left[src], right[dst]), options.run.seed)
    except BridgeError as error:  # a bridge is useful even without its models
        runtime.progress.note(f"The transferred tool is NOT scored on held-out activations: {error.what}")
        return None
