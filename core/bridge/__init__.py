"""Fit a map between two language models' residual streams, and transfer interpretability tools through it.

import bridge

b = bridge.fit("smollm2-135m@19", "gemma3-270m@12", map="ridge")
b(x)             # activations of the source -> predicted activations of the destination
b.direction(v)   # directions: decoder rows, steering vectors
b.explain(["..."])  # the source's activations, explained by the destination's verbalizer
b.save("out")
b = bridge.load("out")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.face.explain import explain, explain_through, train_verbalizer
    from bridge.face.fit import dry_run, fit, load, run, sweep
    from bridge.face.lens import fit_lens, merge_lenses
    from bridge.face.live import audit, steer
    from bridge.face.report import doctor, write_report
    from bridge.face.transfer import transfer_directions, transfer_probes, transfer_sae
    from bridge.keywords import Keywords
    from bridge.pipeline.fit.bridge import Bridge
    from bridge.pipeline.jobs.audit import Audit
    from bridge.pipeline.jobs.doctor import Check
    from bridge.pipeline.jobs.run import Run
    from bridge.pipeline.jobs.steer import Steering
    from bridge.pipeline.jobs.sweep import Sweep
    from bridge.pipeline.readings import Reading, Readings
    from bridge.pipeline.transfer.sae import TransferredDictionary
    from bridge.pipeline.transfer.transferred import Transferred
    from bridge.rehearsable.call import rehearse, rehearse_call
    from bridge.rehearsal.result import Rehearsal

__all__ = [
    "Audit",
    "Bridge",
    "Check",
    "Keywords",
    "Reading",
    "Readings",
    "Rehearsal",
    "Run",
    "Steering",
    "Sweep",
    "Transferred",
    "TransferredDictionary",
    "audit",
    "doctor",
    "dry_run",
    "explain",
    "explain_through",
    "fit",
    "fit_lens",
    "load",
    "merge_lenses",
    "rehearse",
    "rehearse_call",
    "run",
    "steer",
    "sweep",
    "train_verbalizer",
    "transfer_directions",
    "transfer_probes",
    "transfer_sae",
    "write_report",
]

_PLACES = {
    "bridge.face.explain": ("explain", "explain_through", "train_verbalizer"),
    "bridge.face.fit": ("dry_run", "fit", "load", "run", "sweep"),
    "bridge.face.lens": ("fit_lens", "merge_lenses"),
    "bridge.face.live": ("audit", "steer"),
    "bridge.face.report": ("doctor", "write_report"),
    "bridge.face.transfer": ("transfer_directions", "transfer_probes", "transfer_sae"),
    "bridge.keywords": ("Keywords",),
    "bridge.pipeline.fit.bridge": ("Bridge",),
    "bridge.pipeline.jobs.audit": ("Audit",),
    "bridge.pipeline.jobs.doctor": ("Check",),
    "bridge.pipeline.readings": ("Reading", "Readings"),
    "bridge.pipeline.jobs.run": ("Run",),
    "bridge.pipeline.jobs.steer": ("Steering",),
    "bridge.pipeline.jobs.sweep": ("Sweep",),
    "bridge.pipeline.transfer.sae": ("TransferredDictionary",),
    "bridge.pipeline.transfer.transferred": ("Transferred",),
    "bridge.rehearsable.call": ("rehearse", "rehearse_call"),
    "bridge.rehearsal.result": ("Rehearsal",),
}


def __getattr__(name: str) -> Any:
    # Loaded on first access, so that `import bridge` stays fast.
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'bridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
