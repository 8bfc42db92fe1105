"""Bridges that are fitted when they are first needed, and kept in the cache."""

from __future__ import annotations

import hashlib

from bridge.errors import BridgeError
from bridge.pipeline.fit.bridge import Bridge, load_bridge
from bridge.pipeline.fit.fit import fit_plan
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime
from bridge.store import canonical_json


def fitted_bridge(plan: Plan, runtime: Runtime) -> Bridge:
    """Return the bridge of a plan: from the cache, or fitted now and kept.

    Raises:
        BridgeError: As `fit_plan`.
    """
    # The plan's options are pinned, models and corpus by content: an old fit is never taken for a new one.
    key = hashlib.sha256(canonical_json(plan.options.flat()).encode()).hexdigest()[:32]
    folder = runtime.store.root / "bridges" / key
    try:
        return load_bridge(folder, runtime.registry)
    except BridgeError:
        bridge = fit_plan(plan, runtime).bridge
        bridge.save(folder)
        return bridge
