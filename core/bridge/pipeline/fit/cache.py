"""Bridges that are fitted on first use and cached."""

from __future__ import annotations

from bridge.errors import BridgeError
from bridge.pipeline.fit.bridge import Bridge, load_bridge, write_bridge
from bridge.pipeline.fit.fit import fit_plan
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime


def fitted_bridge(plan: Plan, runtime: Runtime) -> Bridge:
    """Return the bridge of a plan, from the cache or newly fitted.

    Raises:
        BridgeError: As `fit_plan`.
    """
    # The key contains the content hashes of models and corpus, so an outdated fit is never reused.
    folder = runtime.store.root / "bridges" / plan.key()
    try:
        return load_bridge(folder, runtime.registry)
    except BridgeError:
        bridge = fit_plan(plan, runtime).bridge
        write_bridge(bridge, folder)  # the folder belongs to this key: existing files are damaged or outdated
        return bridge
