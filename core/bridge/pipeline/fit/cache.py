"""Bridges that are fitted when they are first needed, and kept in the cache."""

from __future__ import annotations

from bridge.errors import BridgeError
from bridge.pipeline.fit.bridge import Bridge, load_bridge, write_bridge
from bridge.pipeline.fit.fit import fit_plan
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime


def fitted_bridge(plan: Plan, runtime: Runtime) -> Bridge:
    """Return the bridge of a plan: from the cache, or fitted now and kept.

    Raises:
        BridgeError: As `fit_plan`.
    """
    # Models and corpus are in the key by content: an old fit is never taken for a new one.
    folder = runtime.store.root / "bridges" / plan.key()
    try:
        return load_bridge(folder, runtime.registry)
    except BridgeError:
        bridge = fit_plan(plan, runtime).bridge
        write_bridge(bridge, folder)  # of this key alone: what is there is damaged, or of another version
        return bridge
