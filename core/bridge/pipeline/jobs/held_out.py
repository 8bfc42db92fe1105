"""The held-out rows of a bridge that was fitted earlier, for what is carried through it to be scored on."""

from __future__ import annotations

from bridge.errors import BridgeError, UsageError
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.plan import prepare
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.transfer.held_out import HeldOutRows


def open_held_out(bridge: Bridge, runtime: Runtime) -> HeldOutRows | None:
    """Open the held-out rows that a bridge was fitted beside; a model runs only where its activations are not stored.

    Returns:
        The rows; None, with a note that says why, where models, corpus or record of the fit are not to be had.
    """
    try:
        if "options" not in bridge.provenance:
            raise UsageError("the bridge does not say what it was fitted on.")
        options = make_options(**bridge.provenance["options"])
        plan = prepare(options, runtime)
        src, dst = plan.src.model.single_site(), plan.dst.model.single_site()
        left, right = gather(plan, {"src": [src], "dst": [dst]}, runtime)
        return HeldOutRows(paired_rows(plan, left[src], right[dst]), options.run.seed)
    except BridgeError as error:  # a bridge is of use where its models are not
        runtime.progress.note(f"What is carried is NOT scored on held-out activations: {error.what}")
        return None
