"""Bridges that are fitted on first use and cached."""

from __future__ import annotations

import contextlib

from bridge.errors import BridgeError
from bridge.files.sealed import read_kept, sha256, write_kept
from bridge.pipeline.fit.bridge import Bridge, load_bridge, write_bridge
from bridge.pipeline.fit.fit import fit_plan
from bridge.pipeline.fit.record import BRIDGE_RECORD
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime

OWNER = "owner.json"
"""Holds the hash of the `bridge.json` that was fitted for this key: a record does not know its key."""


def fitted_bridge(plan: Plan, runtime: Runtime) -> Bridge:
    """Return the bridge of a plan, from the cache or newly fitted.

    Raises:
        BridgeError: As `fit_plan`.
    """
    # The key contains the content hashes of models and corpus, so an outdated fit is never reused.
    folder = runtime.store.root / "bridges" / plan.key()
    record, owner = folder / BRIDGE_RECORD, folder / OWNER
    with contextlib.suppress(BridgeError, OSError):
        if read_kept(owner, str) == sha256(record):
            return load_bridge(folder, runtime.registry)
    bridge = fit_plan(plan, runtime).bridge
    write_bridge(bridge, folder)  # the folder belongs to this key: existing files are damaged or outdated
    write_kept(owner, sha256(record))
    return bridge
