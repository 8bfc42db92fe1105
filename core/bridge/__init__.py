"""Fit a map between two language models' residual streams, and carry interpretability tools across it.

import bridge

b = bridge.fit("smollm2-135m@19", "gemma3-270m@12", map="ridge")
b(x)             # activations of the source, where the destination has them
b.direction(v)   # directions: decoder rows, steering vectors
b.explain(["..."])  # the source's activations, read by the destination's verbalizer
b.save("out")
b = bridge.load("out")
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from bridge.keywords import Keywords

if TYPE_CHECKING:
    from bridge.pipeline.fit.bridge import Bridge
    from bridge.pipeline.jobs.explain import Reading, Readings
    from bridge.pipeline.jobs.run import Run
    from bridge.pipeline.jobs.sweep import Sweep

__all__ = ["Bridge", "Reading", "Readings", "Run", "Sweep", "explain", "fit", "load", "run", "sweep"]

_CLASSES = {
    "Bridge": "bridge.pipeline.fit.bridge",
    "Reading": "bridge.pipeline.jobs.explain",
    "Readings": "bridge.pipeline.jobs.explain",
    "Run": "bridge.pipeline.jobs.run",
    "Sweep": "bridge.pipeline.jobs.sweep",
}


def __getattr__(name: str) -> Any:
    # Found when first asked for: `import bridge` must stay instant.
    if name not in _CLASSES:
        raise AttributeError(f"module 'bridge' has no attribute {name!r}")
    return getattr(import_module(_CLASSES[name]), name)


def fit(src: str, dst: str, **options: Unpack[Keywords]) -> Bridge:
    """Fit a bridge between two models.

    Args:
        src: Source model and layer, as in `smollm2-135m@19`.
        dst: Destination model and layer.
        options: See `bridge.keywords.Keywords`: `corpus`, `map`, `max_documents`, ...

    Returns:
        The bridge; it is not scored (see `run`).

    Raises:
        bridge.errors.BridgeError: With what happened, why, and what to do.
    """
    from bridge.pipeline.jobs.run import fit as fit_options
    from bridge.pipeline.plan.options import make_options

    return fit_options(make_options(src=src, dst=dst, **options))


def run(src: str, dst: str, *, out: str | Path | None = None, **options: Unpack[Keywords]) -> Run:
    """Fit a bridge and score it against its controls on held-out documents.

    Args:
        src: Source model and layer.
        dst: Destination model and layer.
        out: Folder to write to, with `report.html`; None to write nothing.
        options: As for `fit`.

    Returns:
        The bridge and its metrics.

    Raises:
        bridge.errors.BridgeError: With what happened, why, and what to do.
    """
    from bridge.pipeline.jobs.run import run as run_options
    from bridge.pipeline.plan.options import make_options
    from bridge.report.html import REPORT, need_ours, write_report

    if out is None:
        return run_options(make_options(src=src, dst=dst, **options))
    page = Path(out) / REPORT
    need_ours(page)
    result = run_options(make_options(src=src, dst=dst, **options), Path(out))
    write_report([Path(out)], page)
    return result


def sweep(src: str, dst: str, **options: Unpack[Keywords]) -> Sweep:
    """Score every layer of `src` against every layer of `dst` on validation documents.

    Args:
        src: Source model and layers, as in `smollm2-135m@*` or `smollm2-135m@3,9,15`.
        dst: Destination model and layers.
        options: As for `fit`.

    Returns:
        EV and retrieval of every layer pair.

    Raises:
        bridge.errors.BridgeError: With what happened, why, and what to do.
    """
    from bridge.pipeline.jobs.sweep import sweep as sweep_options
    from bridge.pipeline.plan.options import make_options

    return sweep_options(make_options(src=src, dst=dst, **options))


def explain(src: str, via: str, texts: Sequence[str], *, every: int = 1, **options: Unpack[Keywords]) -> Readings:
    """Read a model's activations on some texts with another model's verbalizer.

    Args:
        src: Model and layer to read, as in `smollm2-135m@19`.
        via: Model and layer whose verbalizer reads it.
        texts: What the model is run on.
        every: Explain one token in so many, counted from the last.
        options: As for `fit`, which makes the map where it is not in the cache; `dst_verbalizer` names another one.

    Returns:
        One reading a token, and how much of the activations comes back from them.

    Raises:
        bridge.errors.BridgeError: With what happened, why, and what to do.
    """
    from bridge.pipeline.jobs.explain import explain_texts
    from bridge.pipeline.plan.options import make_options

    return explain_texts(make_options(src=src, dst=via, **options), texts, every)


def explain_through(bridge: Bridge, texts: Sequence[str], *, every: int = 1, verbalizer: str = "") -> Readings:
    """Read the source's activations on some texts with the destination's verbalizer, through a bridge.

    Args:
        bridge: The bridge; its models are found as they were when it was fitted.
        texts: What the source is run on.
        every: Explain one token in so many, counted from the last.
        verbalizer: Which one, as `nla:checkpoint=FOLDER`; the destination's own by default.

    Returns:
        One reading a token, and how much of the activations comes back from them.

    Raises:
        bridge.errors.UsageError: If the destination has no verbalizer, or this is an inverse.
        bridge.errors.BridgeError: If a model or the verbalizer cannot be had.
    """
    from bridge.errors import UsageError
    from bridge.pipeline.jobs.explain import explain_texts
    from bridge.pipeline.plan.options import make_options

    if bridge.is_inverse:
        raise UsageError("An inverse explains nothing.", remedy=f"Fit a bridge from {bridge.src} instead.")
    named = {"dst_verbalizer": verbalizer} if verbalizer else {}
    return explain_texts(make_options(**bridge.provenance["options"] | named), texts, every, bridge=bridge)


def load(folder: str | Path) -> Bridge:
    """Read a bridge that `Bridge.save` or `bridge run` wrote.

    Raises:
        bridge.errors.BridgeError: If it is missing, damaged, or from a newer version.
    """
    from bridge.pipeline.fit.bridge import load_bridge

    return load_bridge(folder)
