"""Inputs of a command that have the width of a real model, for its stand-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import UsageError
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.jobs.run import fit
from bridge.pipeline.plan.options import Options, make_options
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.transfer.dictionaries import shipped
from bridge.pipeline.transfer.transferred import read_named
from bridge.rehearsal.command import Surroundings

Vectors = str | Path | Mapping[str, Any]


def narrow(vectors: Vectors, width: int, kept: Callable[[str], bool] = lambda name: False) -> dict[str, NDArray[Any]]:
    """Return random vectors under the names and in the numbers of the given ones.

    Args:
        vectors: A safetensors file, or arrays by name, (n, d) or (d,).
        width: Width of the stand-in.
        kept: Tells of a name whether its array has no width (a bias), and stays.

    Returns:
        Arrays by name, (n, width) or (width,), float32.

    Raises:
        BridgeError: If the vectors cannot be read.
    """
    found, _ = read_named(Path(vectors) if isinstance(vectors, str) else vectors)
    random = np.random.default_rng(0)
    return {
        name: array if kept(name) else random.normal(size=(*array.shape[:-1], width)).astype(np.float32)
        for name, array in found.items()
    }


def shipped_sites(reference: str) -> str:
    """Return the sites of the dictionaries in the folder of a model's weights, as `1,2`; empty if there are none."""
    return ",".join(shipped(open_runtime().resolve(reference)))


def options_of(bridge: Bridge, **changes: Any) -> Options:
    """Return the options that a bridge was fitted with.

    Raises:
        UsageError: If it has no record of them.
    """
    if "options" not in bridge.provenance:
        raise UsageError(
            f"The bridge from {bridge.src} to {bridge.dst} has no record of what it was fitted on.",
            cause="It was put together by hand, or saved by an earlier version.",
            remedy="Fit it again: a rehearsal fits a bridge between stand-ins as it was fitted.",
        )
    return make_options(**bridge.provenance["options"] | changes)


def fitted(on: Surroundings) -> Bridge:
    """Fit a bridge between the stand-ins, as the real one was fitted."""
    return fit(on.options, None, on.progress)


def fitted_back(on: Surroundings, back: Bridge) -> Bridge:
    """Fit a bridge from the destination's stand-in to the source's, by the map of a real one."""
    models = on.options.models
    options = ",".join(f"{name}={value}" for name, value in back.options.items())
    named = f"{back.map}:{options}" if options else back.map
    return fit(on.options.updated(src=models.dst, dst=models.src, map=named), None, on.progress)
